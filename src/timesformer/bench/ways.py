"""Which ways of a benchmark run here."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from timesformer.errors import ConfigError, DependencyError

T = TypeVar("T")


def build_ways(
    builders: Mapping[str, Callable[[], T]], only: Sequence[str] = ()
) -> tuple[dict[str, T], dict[str, str]]:
    """Make the ways that can run here, and say why the others cannot.

    Args:
        builders: What makes each way, by name; the first is ours and is always made.
        only: Names of those to make beside ours; all of them by default.

    Raises:
        ConfigError: A name is none of them.
    """
    unknown = [name for name in only if name not in builders]
    if unknown:
        raise ConfigError(f"--only {unknown[0]!r} is not one of {', '.join(map(repr, builders))}")
    ours, *_ = builders
    ways: dict[str, T] = {}
    absent: dict[str, str] = {}
    for name, build in builders.items():
        if only and name not in (ours, *only):
            continue
        try:
            ways[name] = build()
        except (DependencyError, ConfigError) as error:  # not installed, or it has no such model
            absent[name] = str(error)
    return ways, absent
