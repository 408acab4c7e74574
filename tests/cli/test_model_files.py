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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "\ufeffabseiling\r\nzumba\r\n3 point shot\r\n"),
        ("names.txt", "1 zumba\n0 abseiling\n2 3 point shot\n"),
        ("names.csv", "id,name\n2,3 point shot\n0,abseiling\n1,zumba\n"),
        ("names.json", '{"zumba": 1, "abseiling": 0, "3 point shot": 2}'),
        ("config.json", '{"id2label": {"1": "zumba", "0": "abseiling", "2": "3 point shot"}}'),
    ],
)
def test_convert_reads_class_names_as_what_they_are(
    run: Callable, model_folder: Path, tmp_path: Path, name: str, content: str
):
    (tmp_path / name).write_text(content, "utf-8", newline="")
    status, _, err = run("convert", model_folder, tmp_path / "m", "--labels", tmp_path / name)
    assert status == 0, err
    assert json.loads(run("info", tmp_path / "m", "--json")[1])["labels"] == ["abseiling", "zumba", "3 point shot"]


def test_convert_refuses_class_names_that_are_not_clear_in_one_line(run: Callable, model_folder: Path, tmp_path: Path):
    (tmp_path / "names.txt").write_text("1 ApplyEyeMakeup\n2 Archery\n3 BabyCrawling\n", "utf-8")
    line = refusal(run("convert", model_folder, tmp_path / "m", "--labels", tmp_path / "names.txt"))
    assert "names.txt: its classes are numbered 1, 2, 3, ...; expected 0 to 2, each once" in line
