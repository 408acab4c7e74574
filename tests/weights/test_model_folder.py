"""The model folder: read back as written, all or nothing, and no other folder is ever replaced."""

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.config.thresholds import Thresholds
from timesformer.errors import ConfigError, WeightsError
from timesformer.model import TimeSformer
from timesformer.weights import model_folder, save
from timesformer.weights.load import load
from timesformer.weights.model_folder import store_thresholds
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

CLIP = ClipConfig(
    sampling="dense",
    frame_stride=5,
    target_fps=12.5,
    num_clips=3,
    num_crops=1,
    test_scale=1.25,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    channel_order="bgr",
    background="remove",
    region="motion",
    min_region=0.4,
    fusion="logits",
)
INFO = ModelInfo(
    clip=CLIP,
    labels=(*"abcdef", "línea\u2028näme 走る"),
    license="MIT",
    source="a test, mostly",
    clip_seconds=2.75,
)


def model_with_info(**changes: object) -> TimeSformer:
    return random_model(tiny_config(**changes), info=INFO)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(model_with_info(), tmp_path / "model")


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_folder_gives_back_the_model_bit_for_bit_with_all_its_info(tmp_path: Path, scheme: str):
    model = model_with_info(scheme=scheme, initialization="scratch", drop_path=0.3, position_interpolation="nearest")
    again = load(save(model, tmp_path / "deep" / "model"))
    assert again.config == model.config
    assert again.info == INFO
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert not again.training


def test_clip_of_this_test_differs_from_the_default_in_every_field_but_sampling():
    # so that the round trip above would notice a field that is not stored; others lack a stride or a number of clips
    same = {
        field.name for field in fields(ClipConfig) if getattr(CLIP, field.name) == getattr(ClipConfig(), field.name)
    }
    assert same == {"sampling"}


def test_folder_holds_three_files_that_say_what_they_are(folder: Path):
    assert sorted(content_of(folder)) == ["config.json", "labels.txt", "model.safetensors"]
    stored = json.loads((folder / "config.json").read_text("utf-8"))
    assert stored["format_version"] == 1
    assert stored["model"]["scheme"] == "divided_space_time"
    assert stored["license"] == "MIT"


def test_folder_without_the_length_of_its_clips_loads(folder: Path):
    change_config(folder, lambda values: values.pop("clip_seconds"))
    assert load(folder).info == replace(INFO, clip_seconds=None)


def test_unknown_length_of_clips_is_not_stored(tmp_path: Path):
    stored = json.loads((save(random_model(tiny_config()), tmp_path / "model") / "config.json").read_text("utf-8"))
    assert "clip_seconds" not in stored


def test_length_of_clips_that_is_not_positive_is_refused(folder: Path):
    change_config(folder, lambda values: values.update(clip_seconds=0))
    with pytest.raises(ConfigError, match=r"config\.json: clip_seconds=0.* must be greater than 0, and finite"):
        load(folder)


def test_model_without_labels_has_no_file_of_labels(tmp_path: Path):
    folder = save(random_model(tiny_config()), tmp_path / "model")
    assert not (folder / "labels.txt").exists()
    assert load(folder).info.labels == ()


def test_labels_that_are_not_one_a_class_are_refused_before_anything_is_written(tmp_path: Path):
    model = random_model(tiny_config(), info=ModelInfo(labels=("a", "b")))
    with pytest.raises(WeightsError, match="has 2 labels and num_classes=7"):
        save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# --- Replacing ------------------------------------------------------------------------------------------------------


def test_folder_that_is_there_is_kept_unless_told_otherwise(folder: Path):
    before = content_of(folder)
    with pytest.raises(ConfigError, match=r"already exists; pass overwrite=True \(--overwrite\) to replace it"):
        save(random_model(tiny_config(), seed=1), folder)
    assert content_of(folder) == before


def test_overwriting_leaves_nothing_of_the_old_model(folder: Path):
    save(random_model(tiny_config("axial")), folder, overwrite=True)
    assert sorted(content_of(folder)) == ["config.json", "model.safetensors"]
    assert load(folder).config.scheme == "axial"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_empty_folder_may_be_filled(tmp_path: Path):
    save(model_with_info(), tmp_path, overwrite=True)
    assert load(tmp_path).info == INFO


@pytest.mark.parametrize("config", [None, '{"name": "a web site"}', '{"model_type": "bert"}'])
def test_folder_of_something_else_is_never_replaced(tmp_path: Path, config: str | None):
    (tmp_path / "thesis.tex").write_text("years of work")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(WeightsError, match="is not a model folder; refusing to replace it"):
        save(model_with_info(), tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_file_is_never_replaced_by_a_folder(tmp_path: Path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(WeightsError, match="is not a model folder; refusing to replace it"):
        save(model_with_info(), tmp_path / "model", overwrite=True)


def failing(error: Exception) -> Callable[..., None]:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
@pytest.mark.parametrize("is_there", [True, False])
def test_failure_while_writing_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, is_there: bool
):
    if is_there:
        save(model_with_info(), tmp_path / "model")
    before = {path.name: content_of(path) for path in tmp_path.iterdir()}
    monkeypatch.setattr(model_folder, "save_file", failing(error))
    with pytest.raises(WeightsError, match=r"model: cannot be written: .*(No space left|I/O error)"):
        save(random_model(tiny_config(), seed=1), tmp_path / "model", overwrite=True)
    assert {path.name: content_of(path) for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("failing_move", [1, 2])
def test_failure_while_replacing_brings_the_old_folder_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing_move: int
):
    before, moves, rename = content_of(folder), [], os.rename

    def sometimes_rename(source: Path, target: Path) -> None:
        moves.append(source)
        if len(moves) == failing_move:
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(model_folder.os, "rename", sometimes_rename)
    with pytest.raises(WeightsError, match=r"cannot be written: .*Permission denied"):
        save(random_model(tiny_config(), seed=1), folder, overwrite=True)
    assert {path.name: content_of(path) for path in folder.parent.iterdir()} == {"model": before}


def test_impossible_path_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be written"):
        save(model_with_info(), tmp_path / "file" / "model")


# --- Damaged folders ------------------------------------------------------------------------------------------------


def change_config(folder: Path, change: Callable[[dict], object]) -> None:
    values = json.loads((folder / "config.json").read_text("utf-8"))
    change(values)
    (folder / "config.json").write_text(json.dumps(values))


def change_tensors(folder: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_folder_of_a_newer_version_is_refused(folder: Path):
    change_config(folder, lambda values: values.update(format_version=2))
    with pytest.raises(WeightsError, match=r"config\.json: format_version=2, this release reads 1"):
        load(folder)


def test_unknown_key_is_refused_with_a_suggestion(folder: Path):
    change_config(folder, lambda values: values["model"].update(num_frame=3))
    with pytest.raises(ConfigError, match=r"config\.json: unknown key model\.num_frame; did you mean model\.num_"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "problem"), [("{", "cannot be read as JSON"), ("[]", "holds a list, expected a JSON object")]
)
def test_damaged_config_is_refused(folder: Path, text: str, problem: str):
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=rf"config\.json: {problem}"):
        load(folder)


def test_wrong_number_of_labels_is_refused(folder: Path):
    (folder / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(WeightsError, match=r"labels\.txt: has 2 names, the model has num_classes=7"):
        load(folder)


def test_labels_that_are_not_text_are_refused(folder: Path):
    (folder / "labels.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(WeightsError, match=r"labels\.txt: cannot be read as text"):
        load(folder)


def test_labels_with_the_line_ends_of_windows_are_read(tmp_path: Path):
    folder = save(random_model(tiny_config(num_classes=2), info=ModelInfo(labels=("a", "b"))), tmp_path / "model")
    (folder / "labels.txt").write_bytes(b"left\r\nright\r\n")
    assert load(folder).info.labels == ("left", "right")


def test_byte_order_mark_of_an_editor_is_no_part_of_a_label(tmp_path: Path):
    folder = save(random_model(tiny_config(num_classes=2), info=ModelInfo(labels=("a", "b"))), tmp_path / "model")
    (folder / "labels.txt").write_text("left\nright\n", "utf-8-sig")
    assert load(folder).info.labels == ("left", "right")


def test_empty_line_among_the_labels_is_refused_by_its_number(folder: Path):
    (folder / "labels.txt").write_text("a\nb\n\nd\ne\nf\ng\n", "utf-8")
    with pytest.raises(WeightsError, match=r"labels\.txt: line 3 is '', expected a class name"):
        load(folder)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "depth", 10**9, r"depth=1000000000 must be at most 1000"),
        ("model", "num_frames", 10**30, r"num_frames=10+ must be at most 1000000"),
        ("model", "image_size", 10**9, r"image_size=1000000000 must be at most 65536"),
        ("model", "num_classes", None, r"model\.num_classes=null must be a number"),
        ("model", "norm_eps", float("nan"), r"model\.norm_eps=NaN must be finite"),
        ("clip", "mean", ["0.5"] * 3, r"clip\.mean\[0\]=\"0\.5\" must be a valid number"),
        ("clip", "num_clips", 10**9, r"num_clips=1000000000 must be at most 1000000"),
    ],
)
def test_value_of_a_wrong_type_or_size_is_refused_by_file_and_key(
    folder: Path, section: str, key: str, value: object, message: str
):
    change_config(folder, lambda values: values[section].update({key: value}))
    with pytest.raises(ConfigError, match=rf"config\.json: .*{message}"):
        load(folder)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "maximum recursion depth"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"a":', "Expecting"),
    ],
)
def test_json_that_no_parser_takes_is_refused(folder: Path, text: str, problem: str):
    (folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=rf"config\.json: cannot be read as JSON: .*{problem}"):
        load(folder)


def test_byte_order_mark_before_the_config_is_passed_over(folder: Path):
    (folder / "config.json").write_text((folder / "config.json").read_text("utf-8"), "utf-8-sig")
    assert load(folder).info == INFO


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda tensors: tensors.pop("norm.weight"), r"norm\.weight"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "extra"),
        (lambda tensors: tensors.update({"head.bias": torch.zeros(6)}), r"head\.bias"),
    ],
    ids=["missing", "unexplained", "of another shape"],
)
def test_weights_that_do_not_fit_the_config_are_refused_by_name(folder: Path, change: Callable, name: str):
    change_tensors(folder, change)
    with pytest.raises(WeightsError, match=rf"model\.safetensors: does not match config\.json at {name}$"):
        load(folder)


def test_missing_weights_are_refused(folder: Path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model\.safetensors: cannot be read as weights"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 5, 2000])
def test_truncated_weights_are_refused(folder: Path, keep: int):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"model\.safetensors: cannot be read as weights"):
        load(folder)


def test_a_folder_whose_name_is_not_utf8_is_written_and_read(tmp_path):
    model = random_model(tiny_config())
    folder = save(model, Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    assert torch.equal(load(folder)(random_clips(model.config)), model(random_clips(model.config)))


# --- Thresholds of timelines ----------------------------------------------------------------------------------------

THRESHOLDS = Thresholds(onset=0.7, min_off=0.25, per_class={"b": {"onset": 0.9, "min_on": 2.5}, "a": {"offset": 0.1}})


def test_thresholds_are_stored_in_the_config_and_nothing_else_changes(folder: Path):
    before = content_of(folder)
    written = store_thresholds(folder, THRESHOLDS)
    after = content_of(folder)
    assert written == folder / "config.json"
    assert {name for name in after if after[name] != before[name]} == {"config.json"}
    assert load(folder).info == replace(INFO, thresholds=THRESHOLDS)


def test_thresholds_survive_saving_and_are_replaced_by_later_ones(folder: Path, tmp_path: Path):
    store_thresholds(folder, THRESHOLDS)
    again = save(load(folder), tmp_path / "again")
    assert load(again).info.thresholds == THRESHOLDS
    store_thresholds(again, Thresholds())
    assert load(again).info.thresholds == Thresholds()


def test_config_of_a_model_without_thresholds_does_not_name_them(folder: Path):
    assert "thresholds" not in json.loads((folder / "config.json").read_text("utf-8"))


def test_thresholds_are_stored_in_the_model_of_a_run(tmp_path: Path):
    save(model_with_info(), tmp_path / "run" / "model")
    store_thresholds(tmp_path / "run", THRESHOLDS)
    assert load(tmp_path / "run").info.thresholds == THRESHOLDS


def test_new_head_has_no_thresholds(folder: Path):
    store_thresholds(folder, THRESHOLDS)
    assert load(folder, num_classes=4).info.thresholds is None


def test_thresholds_of_other_classes_are_refused(folder: Path):
    before = content_of(folder)
    other = Thresholds(per_class={"jump": {"onset": 0.9}})
    with pytest.raises(ConfigError, match="thresholds: the model has no class 'jump', only 7 others"):
        store_thresholds(folder, other)
    assert content_of(folder) == before
    edit_config(folder, thresholds={"per_class": {"jump": {"onset": 0.9}}})
    with pytest.raises(ConfigError, match=r"config\.json: thresholds: the model has no class 'jump'"):
        load(folder)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"onset": 2}, r"config\.json: thresholds: onset=2.0 must be greater than 0, at most 1"),
        ({"onsets": 0.5}, r"config\.json: unknown key thresholds\.onsets; did you mean thresholds\.onset\?"),
        ({"per_class": {"a": {"onset": "high"}}}, r"config\.json: thresholds\.per_class\.a\.onset=.high. must be"),
        ({"per_class": {"a": {"onset": None}}}, r"config\.json: thresholds\.per_class=.*must be a number"),
        ([0.5], r"config\.json: thresholds=\[0\.5\] must be a table"),
    ],
)
def test_stored_thresholds_are_checked(folder: Path, thresholds: object, message: str):
    edit_config(folder, thresholds=thresholds)
    with pytest.raises(ConfigError, match=message):
        load(folder)


def test_thresholds_are_not_stored_in_a_folder_without_a_model(tmp_path: Path):
    with pytest.raises(WeightsError, match="are stored in a model folder of this project, which this is not"):
        store_thresholds(tmp_path, THRESHOLDS)


def test_thresholds_follow_their_classes_to_new_names():
    info = replace(INFO, thresholds=THRESHOLDS).with_labels([*"tuvwxyz"])
    assert info.labels == tuple("tuvwxyz")
    assert info.thresholds == replace(THRESHOLDS, per_class={"u": {"onset": 0.9, "min_on": 2.5}, "t": {"offset": 0.1}})


def edit_config(folder: Path, **changes: object) -> None:
    values = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(values | changes), "utf-8")
