"""Which ways of a benchmark run here."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from timesformer.errors import ConfigError, DependencyError

T = TypeVar("T")


def check_known(only: Sequence[str], known: Collection[str]) -> None:
    """Refuse what `--only` cannot name.

    Raises:
        ConfigError: A name is none of the known ones.
    """
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ConfigError(f"--only {unknown[0]!r} is not one of {', '.join(map(repr, known))}")


def choose(known: Iterable[str], only: Sequence[str] = ()) -> list[str]:
    """The first of the known names, which is ours, and those of `only`; all of them where it is empty.

    Raises:
        ConfigError: A name is none of the known ones.
    """
    ours, *others = known
    check_known(only, (ours, *others))
    return [ours, *(name for name in others if not only or name in only)]


def build_ways(
    builders: Mapping[str, Callable[[], T]],
    only: Sequence[str] = (),
    *,
    unavailable: tuple[type[Exception], ...] = (DependencyError,),
) -> tuple[dict[str, T], dict[str, str]]:
    """Make the ways that can run here, and say why the others cannot.

    Args:
        builders: What makes each way, by name; the first is ours and is always made.
        only: Names of those to make beside ours; all of them by default.
        unavailable: What a way raises that cannot run here; the first line of it is the reason.

    Raises:
        ConfigError: A name is none of them.
    """
    ways: dict[str, T] = {}
    absent: dict[str, str] = {}
    for name in choose(builders, only):
        try:
            ways[name] = builders[name]()
        except unavailable as error:
            absent[name] = str(error).strip().splitlines()[0]
    return ways, absent
