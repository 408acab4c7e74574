"""Faults of segments: a check finds each of them, and nothing else; the clean list keeps the good segments."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from planted_faults import clip
from timesformer.cli.main import main
from timesformer.data.check.clean import clean, save_clean
from timesformer.data.check.data_check import DataCheck, check_dataset
from timesformer.data.manifest.manifest import load_manifest
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.video.segment import Segment
from videos import write_timed

FPS = 25
TRAIN = """path,label,start,end
one.mp4,run,0,0.5
one.mp4,walk,0.5,1
one.mp4,run,0.9,1.4
one.mp4,run,1.3,1.8
one.mp4,walk,1.8,1.8
two.mp4,walk,1.5,0.5
two.mp4,walk,-0.5,0.5
two.mp4,walk,0,0.4
two.mp4,run,1.6,2.3
two.mp4,run,2.5,3
two.mp4,walk,0.5,0.6
two.mp4,walk,1.6,1.92
two.mp4,run,0.6,1
two.mp4,run,0.6,1
three.mp4,walk,,
three.mp4,run,1,1.5
pause.mkv,run,0,0.4
pause.mkv,run,2,3
gone.mp4,run,0,1
gone.mp4,run,3,2
leak.mp4,run,0,0.5
"""
VAL = "path,label,start,end\nheld.mp4,walk,0,0.6\nleak.mp4,run,1,1.5\nheld.mp4,run,0.6,1.2\n"
FINDINGS = [
    ("missing", ["gone.mp4"], "there is no such file"),
    ("too_short", ["two.mp4"], "line 12: 2 frames from 0.5 to 0.6 s, needed: at least 8"),
    ("bad_segment", ["one.mp4"], "line 6: a segment from 1.8 to 1.8 s: it must end after it starts"),
    ("bad_segment", ["two.mp4"], "line 7: a segment from 1.5 to 0.5 s: it must end after it starts"),
    ("bad_segment", ["two.mp4"], "line 8: a segment from -0.5 to 0.5 s: times are seconds from the start, 0 or more"),
    ("bad_segment", ["two.mp4"], "line 10: a segment from 1.6 to 2.3 s goes on after the end of the video, 1.92 s"),
    ("bad_segment", ["two.mp4"], "line 11: a segment from 2.5 to 3 s starts after the end of the video, 1.92 s"),
    ("bad_segment", ["pause.mkv"], "line 19: a segment from 2 to 3 s has no frame of the video"),
    ("bad_segment", ["gone.mp4"], "line 21: a segment from 3 to 2 s: it must end after it starts"),
    ("conflicting_segment", ["one.mp4"], "line 3 (walk, 0.5 to 1 s) and line 4 (run, 0.9 to 1.4 s) overlap"),
    ("conflicting_segment", ["three.mp4"], "line 16 (walk, the whole video) and line 17 (run, 1 to 1.5 s) overlap"),
    ("leak", ["leak.mp4"], "the same bytes in train and in val"),
    ("duplicate", ["two.mp4"], "one segment (0.6 to 1 s), listed 2 times in train"),
    ("overlapping_segment", ["one.mp4"], "line 4 (run, 0.9 to 1.4 s) and line 5 (run, 1.3 to 1.8 s) overlap"),
]
"""Kind, files and reason of each finding."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 48 frames, 1.92 s; one with a gap from 0.48 to 4 s."""
    folder = tmp_path_factory.mktemp("planted")
    motions = ("grow", "turn_clockwise", "move_left", "appear", "meet", "shrink")
    for number, name in enumerate(("one", "two", "three", "leak", "held")):
        frames = np.concatenate([clip(motion, "segments", number) for motion in (motions[number], motions[number + 1])])
        write_clip(folder / f"{name}.mp4", frames, fps=FPS)
    times = [40 * n + 3520 * (n >= 12) for n in range(24)]
    write_timed(folder / "pause.mkv", times, fps=FPS, frames=clip("meet", "segments", 9))
    (folder / "train.csv").write_text(TRAIN)
    (folder / "val.csv").write_text(VAL)
    return folder


@pytest.fixture(scope="module")
def checked(planted: Path) -> DataCheck:
    return check_dataset(planted / "train.csv", val=planted / "val.csv")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return int(stopped.value.code or 0), out


def test_each_fault_is_found_and_nothing_else(checked: DataCheck):
    found = [(found.kind, [file.name for file in found.files], found.reason) for found in checked.findings]
    of_timing = [(kind, files) for kind, files, _ in found if kind == "timing"]  # of the planted gap
    assert of_timing == [("timing", ["pause.mkv"])]
    assert [finding for finding in found if finding[0] != "timing"] == FINDINGS


def test_videos_and_segments_are_counted_apart(checked: DataCheck):
    assert [checked.num_videos(split) for split in ("train", "val")] == [6, 2]
    assert [checked.num_entries(split) for split in ("train", "val")] == [21, 3]
    assert checked.class_counts("train") == [13, 8]


def test_labeled_and_unlabeled_seconds_are_those_of_readable_videos(tmp_path: Path):
    write_clip(tmp_path / "a.mp4", clip("grow", "seconds", 0), fps=8)  # 3 s
    (tmp_path / "list.csv").write_text("path,label,start,end\na.mp4,run,0,1\na.mp4,walk,0.5,1.5\nb.mp4,run,0,9\n")
    labeled, unlabeled = check_dataset(tmp_path / "list.csv", num_frames=1).labeled_seconds()
    assert (labeled, unlabeled) == (pytest.approx(1.5), pytest.approx(1.5))
    (tmp_path / "out.csv").write_text("path,label,start,end\na.mp4,run,-2,0.5\na.mp4,walk,2.5,9\na.mp4,run,2,1\n")
    labeled, unlabeled = check_dataset(tmp_path / "out.csv", num_frames=1).labeled_seconds()
    assert (labeled, unlabeled) == (pytest.approx(1), pytest.approx(2))


def test_json_has_the_times_of_each_finding(checked: DataCheck, planted: Path):
    content = json.loads(json.dumps(checked.to_dict(), allow_nan=False))
    assert content["num_segments"] == {"train": 21, "val": 3}
    conflict = next(finding for finding in content["findings"] if finding["kind"] == "conflicting_segment")
    path = str(planted / "one.mp4")
    assert conflict["segments"] == [
        {"path": path, "start": 0.5, "end": 1.0},
        {"path": path, "start": 0.9, "end": 1.4},
    ]
    assert "segments" not in next(finding for finding in content["findings"] if finding["kind"] == "missing")


def test_data_without_segments_has_no_key_of_segments(tmp_path: Path):
    write_clip(tmp_path / "a.mp4", clip("grow", "whole", 0))
    (tmp_path / "list.csv").write_text("a.mp4,run\n")
    content = check_dataset(tmp_path / "list.csv").to_dict()
    assert not {"num_segments", "seconds"} & content.keys()


def test_clean_list_keeps_the_good_segments_of_faulty_videos(checked: DataCheck, planted: Path, tmp_path: Path):
    result = clean(checked)
    kept = [(sample.path.name, sample.segment) for sample in result.train.samples]
    assert kept == [
        ("one.mp4", Segment(0, 0.5)),
        ("one.mp4", Segment(1.3, 1.8)),  # its overlap is with one that is left out
        ("two.mp4", Segment(0, 0.4)),
        ("two.mp4", Segment(1.6, 1.92)),
        ("two.mp4", Segment(0.6, 1)),
        ("pause.mkv", Segment(0, 0.4)),
    ]
    assert result.val is not None
    assert [sample.segment for sample in result.val.samples] == [(0, 0.6), (1, 1.5), (0.6, 1.2)]
    assert {(one.path.name, one.segment, one.reason) for one in result.left_out} >= {
        ("one.mp4", Segment(1.8, 1.8), "bad_segment"),
        ("two.mp4", Segment(0.5, 0.6), "too_short"),
        ("two.mp4", Segment(0.6, 1), "duplicate"),
        ("leak.mp4", Segment(0, 0.5), "leak"),
        ("gone.mp4", Segment(0, 1), "missing"),
    }
    train, _ = save_clean(result, tmp_path / "clean")
    assert load_manifest(train) == result.train
    again = check_dataset(train, val=tmp_path / "clean" / "val.csv")
    assert {finding.kind for finding in again.findings} <= {"timing"}


def test_copies_of_a_video_are_duplicates_but_its_segments_are_not(planted: Path, tmp_path: Path):
    for name in ("one", "copy"):
        shutil.copy(planted / "one.mp4", tmp_path / f"{name}.mp4")
    (tmp_path / "list.csv").write_text(
        "path,label,start,end\none.mp4,run,0,0.5\none.mp4,walk,0.5,1\ncopy.mp4,walk,1,1.5\n"
    )
    check = check_dataset(tmp_path / "list.csv")
    assert [(found.kind, found.reason) for found in check.findings] == [
        ("duplicate", "2 files with the same bytes in train")
    ]
    assert [sample.segment for sample in clean(check).train.samples] == [(0, 0.5), (0.5, 1)]


def test_edges_within_a_frame_do_not_overlap(planted: Path, tmp_path: Path):
    shutil.copy(planted / "one.mp4", tmp_path / "one.mp4")
    (tmp_path / "list.csv").write_text("path,label,start,end\none.mp4,run,0,0.43\none.mp4,walk,0.41,1\n")
    (tmp_path / "other.csv").write_text("path,label,start,end\none.mp4,run,0,0.45\none.mp4,walk,0.43,1\n")
    kinds = [
        [finding.kind for finding in check_dataset(tmp_path / name).findings] for name in ("list.csv", "other.csv")
    ]
    assert kinds == [[], ["conflicting_segment"]]  # frames are shown at 0.40, 0.44 and 0.48 s


def test_command_prints_and_draws_segments(planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lists = (planted / "train.csv", "--val", planted / "val.csv", "--num-workers", 0)
    status, out = run(capsys, "check", *lists, "--output", tmp_path / "page", "--fix", tmp_path / "clean")
    assert status == 1
    assert "bad_segment: line 7: a segment from 1.5 to 0.5 s: it must end after it starts\n    " in out
    assert "videos      6 for training, 2 for validation\n" in out
    assert "segments    21 for training, 3 for validation, in 2 classes of 8 to 13\n" in out
    assert "labeled     " in out
    page = (tmp_path / "page" / "index.html").read_text()
    assert "one.mp4, 0.9 to 1.4 s" in page
    assert "training segments" in page
    assert (tmp_path / "clean" / "train.csv").read_text().startswith("path,label,start,end\n")
    status, out = run(capsys, "check", tmp_path / "clean", "--num-workers", 0, "--json")
    assert (status, json.loads(out)["num_errors"]) == (0, 0)
