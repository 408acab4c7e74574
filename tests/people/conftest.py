from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from people_runs import TINY
from timesformer.people.config import PeopleRun
from timesformer.people.motions import draw_motion


@pytest.fixture
def tiny_run(tmp_path: Path) -> Callable[..., PeopleRun]:
    """A function that makes a tiny run into a folder of the test, with other values if they are given."""

    def make(name: str = "run", **changes: Any) -> PeopleRun:
        return replace(TINY, output=str(tmp_path / name), **changes)

    return make


@pytest.fixture(scope="session")
def motions():
    """Random motions, many enough to contain every family."""
    rng = np.random.default_rng(5)
    return tuple(draw_motion(rng) for _ in range(400))
