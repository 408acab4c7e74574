"""Running and comparing training runs in tests."""

from collections.abc import Callable
from pathlib import Path

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
