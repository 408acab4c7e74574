"""Model files of other programs through the command line: folders of `transformers`, class names, ONNX."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from timesformer.config.info import ModelInfo
from timesformer.weights import save_transformers
from tiny import random_model, square_config


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of `transformers` with seven classes."""
    model = random_model(square_config(), info=ModelInfo(labels=tuple("abcdefg")))
    folder = save_transformers(model, tmp_path / "theirs")
    (folder / "timesformer.json").unlink()  # only our own writer leaves it
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def refusal(answer: tuple[int, str, str]) -> str:
    """The one line of an error."""
    status, out, err = answer
    assert (status, out) in ((1, ""), (2, ""))
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_preprocessing_of_a_folder_of_transformers_is_followed_or_refused_in_one_line(
    run: Callable, theirs: Path, tmp_path: Path
):
    edit(theirs / "preprocessor_config.json", do_normalize=False)
    status, out, err = run("info", theirs, "--json")
    assert status == 0, err
    clip = json.loads(out)["clip"]
    assert (clip["mean"], clip["std"]) == ([0, 0, 0], [1, 1, 1])
    edit(theirs / "preprocessor_config.json", do_resize=False)
    line = refusal(run("convert", theirs, tmp_path / "there"))
    assert f"{theirs}/preprocessor_config.json: do_resize=false must be true" in line
    assert not (tmp_path / "there").exists()
