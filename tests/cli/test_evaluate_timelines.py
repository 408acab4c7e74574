"""`evaluate --timeline`: measures of annotated videos, curves that are kept, and thresholds stored with the model."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from timesformer.config.thresholds import Thresholds
from timesformer.data.synthetic.motion import render_clip
from timesformer.data.video.writer import write_mp4
from timesformer.evaluation.segments import evaluate as of_segments
from timesformer.evaluation.segments.evaluate import evaluate_segments
from timesformer.timelines.run import run_task, timeline
from timesformer.weights.load import load

ORDER = ("move_left", "shrink", "move_right")
"""Actions of 12 frames each; the last one is cut off after 8 frames of no label."""


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the segments of two videos of 44 frames at 10 frames a second."""
    folder = tmp_path_factory.mktemp("long")
    rows = ["path,label,start,end"]
    for number in range(2):
        order = ORDER[number:] + ORDER[:number]
        clips = [render_clip(label, seed=number, num_frames=12, size=(32, 40), background="plain") for label in order]
        still = np.repeat(clips[1][-1:], 8, axis=0)
        frames = np.concatenate([clips[0], clips[1], still, clips[2]])
        write_mp4(folder / f"{number}.mp4", frames, rate=Fraction(10), quality={"crf": "10"})
        times = ((0, 1.2), (1.2, 2.4), (3.2, 4.4))
        rows += [f"{number}.mp4,{label},{start},{end}" for label, (start, end) in zip(order, times, strict=True)]
    (folder / "segments.csv").write_text("\n".join(rows) + "\n")
    return folder / "segments.csv"


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model, since thresholds are written to it."""
    return Path(shutil.copytree(model_folder, tmp_path / "model"))


def ok(run, *arguments: object) -> str:
    status, out, err = run("evaluate", *arguments, "--timeline", "--window", 1.2)
    assert status == 0, err
    return out


def refused(run, *arguments: object) -> str:
    status, out, err = run("evaluate", *arguments)
    assert status != 0
    assert out == ""
    (line,) = err.strip().splitlines()
    return line


def test_measures_are_printed_and_equal_those_in_python(run, segments: Path, model: Path):
    text = ok(run, segments, "-m", model)
    assert [line[:19].strip() for line in text.splitlines()][:6] == [
        "frame accuracy", "inside segments", "Edit", "F1@10", "F1@25", "F1@50",
    ]  # fmt: skip
    assert "2 with 6 segments; intervals over videos" in text
    assert "windows of 1.2 s every 0.3 s" in text
    found = json.loads(ok(run, segments, "-m", model, "--json"))
    result = evaluate_segments(model, segments, window=1.2)
    assert found == json.loads(json.dumps(result.to_dict()))


def test_frame_accuracy_is_that_of_the_timeline_frame_by_frame(run, segments: Path, model: Path):
    found = json.loads(ok(run, segments, "-m", model, "--json"))
    correct = 0
    for number in range(2):
        order = ORDER[number:] + ORDER[:number]
        truth = [*[order[0]] * 12, *[order[1]] * 12, *[""] * 8, *[order[2]] * 12]
        labels = [""] * 44
        for one in timeline(load(model), segments.parent / f"{number}.mp4", window=1.2).segments:
            labels[one.start_frame : one.end_frame] = [one.label] * (one.end_frame - one.start_frame)
        correct += sum(a == b for a, b in zip(truth, labels, strict=True))
    assert found["frame_accuracy"]["value"] == correct / 88


def test_curves_of_another_precision_are_computed_again(run, segments: Path, model: Path, tmp_path: Path):
    for precision, count in (("fp32", 2), ("bf16", 4), ("fp32", 4)):
        ok(run, segments, "-m", model, "--curves", tmp_path / "curves", "--precision", precision)
        assert len([*(tmp_path / "curves").iterdir()]) == count


def test_curves_are_computed_once_for_each_file_model_and_window(
    run, segments: Path, model: Path, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr(of_segments, "run_task", lambda *a, **k: calls.append(a[1].name) or run_task(*a, **k))
    curves = ("--curves", tmp_path / "curves")
    first = ok(run, segments, "-m", model, *curves)
    assert calls == ["0.mp4", "1.mp4"]
    assert ok(run, segments, "-m", model, *curves) == first
    assert calls == ["0.mp4", "1.mp4"]
    assert len([*(tmp_path / "curves").iterdir()]) == 2
    ok(run, segments, "-m", model, *curves, "--stride", 0.6)
    assert len(calls) == 4


def test_chosen_thresholds_are_stored_and_used_by_the_next_evaluation(run, segments: Path, model: Path, tmp_path):
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    curves = ("--curves", tmp_path / "curves")
    text = ok(run, segments, "-m", model, *curves, "--choose-thresholds")
    assert "class       segments  onset  offset  min-on  min-off  F1@50 before  after" in text
    stored = load(model).info.thresholds
    assert stored is not None
    assert set(stored.per_class) == set(ORDER)
    after = {path.name: path.read_bytes() for path in model.iterdir()}
    assert {name for name in after if before[name] != after[name]} == {"config.json"}
    found = json.loads(ok(run, segments, "-m", model, *curves, "--json"))
    assert found["thresholds"] == stored.to_dict()
    chosen = json.loads(ok(run, segments, "-m", model, *curves, "--choose-thresholds", "--json"))
    assert chosen.pop("chosen")
    assert chosen == found
    assert (
        found["f1_overlapping"]["50"]["value"]
        >= evaluate_segments(model, segments, window=1.2, thresholds=Thresholds()).f1_overlapping[50].value
    )


def test_page_is_written_and_not_replaced(run, segments: Path, model: Path, tmp_path: Path):
    ok(run, segments, "-m", model, "--page", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("<figure") == 2
    line = refused(run, segments, "-m", model, "--timeline", "--page", tmp_path / "page.html")
    assert "already exists; pass overwrite=True (--overwrite) to replace it" in line


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--window", 2), "--window has no effect without --timeline"),
        (("--choose-thresholds",), "--choose-thresholds has no effect without --timeline"),
        (("--curves", "c"), "--curves has no effect without --timeline"),
        (("--timeline", "--csv", "p.csv"), "--csv has no effect with --timeline"),
        (("--timeline", "--top-k", "1"), "--top-k has no effect with --timeline"),
        (("--timeline", "--background", "1"), "--background has no effect with --timeline"),
        (("--timeline", "--num-workers", "0"), "--num-workers has no effect with --timeline"),
        (("--timeline", "--sampling", "dense", "--num-clips", "2"), "--num-clips has no effect with --timeline"),
        (("--timeline", "--overwrite"), "--overwrite has no effect with --timeline without --page"),
        (
            ("--timeline", "--choose-thresholds", "--sampling", "dense"),
            "--choose-thresholds stores thresholds of the model as it is: leave out --set and options of views",
        ),
        (("--timeline",), "pass their length in seconds as window=... (--window)"),
        (("--timeline", "--window", 0), "window=0 must be from 0.001 to 86400 seconds"),
        (("--timeline", "--window", 9), "lasts 4.4 s, less than one window of 9 s"),
    ],
)
def test_options_without_effect_and_out_of_range_are_refused(run, segments, model, given: tuple, message: str):
    assert message in refused(run, segments, "-m", model, *given)


@pytest.mark.parametrize("name", ["tiny", "model.onnx"])
def test_thresholds_are_not_chosen_for_what_cannot_keep_them(run, segments: Path, tmp_path: Path, name: str):
    (tmp_path / "model.onnx").write_bytes(b"")
    source = tmp_path / name if name.endswith(".onnx") else name
    line = refused(run, segments, "-m", source, "--timeline", "--window", 1.2, "--choose-thresholds")
    assert f"{source}: thresholds are stored in a model folder of this project, which this is not" in line


def test_read_only_folder_is_refused_before_the_work(run, segments: Path, model: Path, monkeypatch):
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("timesformer.outputs.tempfile.TemporaryFile", refuse)
    line = refused(run, segments, "-m", model, "--timeline", "--window", 1.2, "--choose-thresholds")
    assert f"{model}/config.json: cannot be written: Permission denied" in line


def test_segment_after_the_end_of_its_video_is_refused(run, segments: Path, model: Path):
    late = segments.with_name("late.csv")
    late.write_text("path,label,start,end\n0.mp4,shrink,1,2\n0.mp4,shrink,4.5,6\n")
    line = refused(run, late, "-m", model, "--timeline", "--window", 1.2)
    assert "0.mp4: a segment starts at 4.5 s; the video ends at 4.4 s" in line


def test_unreadable_video_is_skipped_only_on_request(run, segments: Path, model: Path):
    (segments.parent / "bad.mp4").write_bytes(b"broken")
    table = segments.with_name("bad.csv")
    table.write_text(segments.read_text() + "bad.mp4,shrink,0,1\n")
    line = refused(run, table, "-m", model, "--timeline", "--window", 1.2)
    assert "bad.mp4" in line
    status, out, err = run("evaluate", table, "-m", model, "--timeline", "--window", 1.2, "--on-error", "skip")
    assert status == 0
    assert "skipped" in err
    assert "2 (1 skipped) with 6 segments" in out


def test_several_processes_are_refused(run, segments: Path, model: Path, monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29999"}.items():
        monkeypatch.setenv(name, value)
    line = refused(run, segments, "-m", model, "--timeline", "--window", 1.2)
    assert "--timeline runs in one process, not in 2" in line
