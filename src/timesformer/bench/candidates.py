"""The candidates of a benchmark: those asked for by `only`, without those that cannot run here."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from timesformer.errors import ConfigError, DependencyError

T = TypeVar("T")


def check_only(only: Sequence[str], known: Collection[str]) -> None:
    """Refuse unknown names in `only`.

    Raises:
        ConfigError: A name is not among the known ones.
    """
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ConfigError(f"only={unknown[0]!r} is not one of {', '.join(map(repr, known))}")


def select(known: Iterable[str], only: Sequence[str] = ()) -> list[str]:
    """The first of the known names, which is ours, and those in `only`; all of them if `only` is empty.

    Raises:
        ConfigError: A name is not among the known ones.
    """
    ours, *baselines = known
    check_only(only, (ours, *baselines))
    return [ours, *(name for name in baselines if not only or name in only)]


def build_candidates(
    builders: Mapping[str, Callable[[], T]],
    only: Sequence[str] = (),
    *,
    unavailable: tuple[type[Exception], ...] = (DependencyError,),
) -> tuple[dict[str, T], dict[str, str]]:
    """Build the candidates that can run here, and give the reason for each that cannot.

    Args:
        builders: A builder for each candidate, by name; the first is ours and is always built.
        only: Baselines to build; all of them by default.
        unavailable: Errors of a candidate that cannot run here; the first line of the error is the reason.

    Raises:
        ConfigError: A name in `only` is unknown.
    """
    candidates: dict[str, T] = {}
    reasons: dict[str, str] = {}
    for name in select(builders, only):
        try:
            candidates[name] = builders[name]()
        except unavailable as error:
            reasons[name] = str(error).strip().splitlines()[0]
    return candidates, reasons


def max_differences(outputs: Mapping[str, Tensor], *, reference: str) -> dict[str, float]:
    """Largest absolute difference between each output and the reference's."""
    expected = outputs[reference]
    return {name: float((output - expected).abs().max()) for name, output in outputs.items() if name != reference}
