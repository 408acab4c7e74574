import json
from pathlib import Path

import pytest

from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.manifest.model_classes import match_classes, read_manifest
from timesformer.errors import DataError

MANIFEST = Manifest((Sample(Path("a.mp4"), 0), Sample(Path("b.mp4"), 1)), ("run", "walk"))


def test_classes_are_matched_by_name():
    matched = match_classes(MANIFEST, labels=("walk", "swim", "run"), num_classes=3)
    assert [sample.label for sample in matched.samples] == [2, 0]
    assert matched.class_names == ("walk", "swim", "run")


def test_unknown_class_is_named_with_a_suggestion():
    with pytest.raises(DataError, match="does not have 1 of the videos' classes: 'walk'; did you mean 'walking'"):
        match_classes(MANIFEST, labels=("run", "walking"), num_classes=2)


def test_unlike_classes_are_named_with_those_of_the_model():
    with pytest.raises(DataError, match=r"'run', 'walk'; the model's classes start with \['x', 'y'\]"):
        match_classes(MANIFEST, labels=("x", "y"), num_classes=2)


def test_model_without_names_takes_the_classes_in_their_order():
    assert match_classes(MANIFEST, labels=(), num_classes=2) is MANIFEST


def test_model_without_names_and_other_classes_is_refused():
    with pytest.raises(DataError, match="the videos have 2 classes, the model has 5 and no class names"):
        match_classes(MANIFEST, labels=(), num_classes=5)


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_validation_is_taken_of_a_folder_with_splits(tmp_path: Path):
    _touch(tmp_path / "train/run/a.mp4", tmp_path / "train/walk/b.mp4", tmp_path / "val/run/c.mp4")
    manifest = read_manifest(tmp_path, labels=("run", "walk"))
    assert [sample.path.name for sample in manifest.samples] == ["c.mp4"]


def test_class_that_is_called_train_makes_no_split(tmp_path: Path):
    _touch(tmp_path / "train/a.mp4", tmp_path / "bus/b.mp4")
    assert read_manifest(tmp_path, labels=("bus", "train")).class_names == ("bus", "train")


def test_numbers_of_a_list_mean_the_classes_of_the_model(tmp_path: Path):
    _touch(tmp_path / "a.mp4")
    (tmp_path / "test.csv").write_text("a.mp4,2\n")
    manifest = read_manifest(tmp_path / "test.csv", labels=("run", "walk", "swim"))
    assert manifest.class_names[manifest.samples[0].label] == "swim"


def test_numbers_of_a_list_with_names_next_to_it_mean_those(tmp_path: Path):
    _touch(tmp_path / "a.mp4")
    (tmp_path / "test.csv").write_text("a.mp4,1\n")
    (tmp_path / "classes.txt").write_text("swim\nrun\n")
    manifest = read_manifest(tmp_path / "test.csv", labels=("run", "walk", "swim"))
    assert manifest.class_names[manifest.samples[0].label] == "run"


@pytest.mark.parametrize(
    ("clip", "name", "names"),
    [
        ({"vid_name": "a", "label": 1}, "Diving48_vocab.json", [["swim"], ["run"]]),
        ({"id": "a", "label": 1}, "labels.json", {"swim": "0", "run": "1"}),
        ({"id": "a", "label": 1}, "something-something-v2-labels.json", {"swim": "0", "run": "1"}),
    ],
)
def test_numbers_of_a_json_with_names_next_to_it_mean_those(clip: dict, name: str, names: object, tmp_path: Path):
    _touch(tmp_path / "a.mp4")
    (tmp_path / "test.json").write_text(json.dumps([clip]))
    (tmp_path / name).write_text(json.dumps(names))
    manifest = read_manifest(tmp_path / "test.json", labels=("run", "walk", "swim"))
    assert manifest.class_names[manifest.samples[0].label] == "run"


def test_numbers_of_a_json_alone_mean_the_classes_of_the_model(tmp_path: Path):
    _touch(tmp_path / "a.mp4")
    (tmp_path / "test.json").write_text('[{"vid_name": "a", "label": 1}]')
    manifest = read_manifest(tmp_path / "test.json", labels=("run", "walk", "swim"))
    assert manifest.class_names[manifest.samples[0].label] == "walk"


def test_a_model_without_names_takes_the_classes_in_their_order_and_warns(caplog):
    assert match_classes(MANIFEST, labels=(), num_classes=2) == MANIFEST
    assert caplog.messages == ["the model has no class names: they are taken from the videos, in their order"]
