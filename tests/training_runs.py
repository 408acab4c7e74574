"""Running and comparing training runs in tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Stopped(Exception):
    """What cuts a run off in a test."""


def quiet(line: str) -> None:
    """A caller that does not listen."""


def raise_at(start: str, error: BaseException) -> Callable[[str], None]:
    """A listener that raises at the first line with this start."""

    def listen(line: str) -> None:
        if line.startswith(start):
            raise error

    return listen


def weights_of(output: str | Path, name: str = "last") -> dict[str, Tensor]:
    state = torch.load(Path(output) / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]
    return {key.removeprefix("model."): value for key, value in state.items()}


def are_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def content_of(output: str | Path, name: str = "last") -> list[tuple[str, Any]]:
    """All that a checkpoint holds but for clock times, in an order, with tensors as bytes."""
    state = torch.load(Path(output) / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return [
        (path, value)
        for path, value in sorted(_leaves(state, ""))
        if not path.endswith(("/seconds", "/data_wait_fraction"))
    ]


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    if isinstance(value, Tensor):
        return [(path, value.numpy().tobytes())]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    if not children and not isinstance(value, dict | list | tuple):
        return [(path, value)]
    return [leaf for key, child in children for leaf in _leaves(child, f"{path}/{key}")]
