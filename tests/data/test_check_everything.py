"""A data set with every kind of fault: a check finds each, and nothing else."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from planted_faults import clip, reencode
from timesformer.cli.main import main
from timesformer.data.check.data_check import KINDS, DataCheck, check_dataset
from timesformer.data.synthetic.dataset import write_clip
from videos import cut_off, damage_packets, write_timed, write_video

CLASSES = ("bow", "clap", "nan", "nod", "wave", "Wave")
TRAIN = """path,label,group
bow/0.mp4,bow,anna
bow/1.mp4,bow,anna
bow/again.mp4,bow,anna
bow/2.mp4,bow,ben
bow/smaller.mp4,bow,ben
bow/misfiled.mp4,bow,anna
clap/3.mp4,clap,anna
clap/cut.mp4,clap,anna
clap/damaged.mp4,clap,anna
clap/short.mp4,clap,anna
clap/gone.mp4,clap,anna
clap/typo.mp4,clpa,anna
nan/0.mp4,nan,anna
Wave/0.mp4,Wave,ben
#clap/0.mp4,clap,anna
{waves}
wave/text.mp4,wave,dora
wave/picture.mp4,wave,dora
wave/pause.mp4,wave,dora
wave/slow.mp4,wave,dora
wave/equal.mkv,wave,dora
bow/both.mp4,bow,anna
bow/both_again.mp4,bow,ben
"""
VAL = """path,label,group
held/0.mp4,wave,emil
held/copy.mp4,wave,
held/smaller.mp4,wave,emil
held/1.mp4,clap,fred
held/of_cleo.mp4,bow,cleo
"""
FINDINGS = {
    ("missing", ("clap/gone.mp4",)),
    ("unreadable", ("wave/text.mp4",)),
    ("unreadable", ("wave/picture.mp4",)),
    ("truncated", ("clap/cut.mp4",)),
    ("truncated", ("clap/damaged.mp4",)),
    ("too_short", ("clap/short.mp4",)),
    ("bad_label", ("clap/typo.mp4",)),
    ("conflicting_label", ("bow/misfiled.mp4", "clap/3.mp4")),
    ("conflicting_group", ("bow/both.mp4", "bow/both_again.mp4")),
    ("leak", ("wave/0.mp4", "held/copy.mp4")),
    ("leak", ("wave/1.mp4", "held/smaller.mp4")),
    ("group_leak", (*(f"wave/{number}.mp4" for number in range(2, 13)), "held/of_cleo.mp4")),
    ("empty_class", ()),
    ("duplicate", ("bow/1.mp4", "bow/again.mp4")),
    ("duplicate", ("bow/both.mp4", "bow/both_again.mp4")),
    ("near_duplicate", ("bow/2.mp4", "bow/smaller.mp4")),
    ("timing", ("wave/pause.mp4",)),
    ("timing", ("wave/slow.mp4",)),
    ("timing", ("wave/equal.mkv",)),
    ("similar_classes", ()),
    ("placeholder_label", ("nan/0.mp4",)),
    ("imbalance", ()),
    ("passed_over", ("train.csv",)),
}
"""Kind and files of each finding, relative to the data set's folder."""


def _clip(path: Path, number: int, *, num_frames: int = 24) -> Path:
    path.parent.mkdir(exist_ok=True)
    motion = ("grow", "turn_clockwise", "move_left", "appear", "meet", "shrink")[number % 6]
    write_clip(path, clip(motion, "everything", number)[:num_frames])
    return path


def plant_everything(folder: Path) -> Path:
    """Write the data set and return its folder."""
    for number, name in enumerate(["bow/0", "bow/1", "bow/2", "clap/0", "clap/3", "nan/0", "Wave/0", "clap/typo"]):
        _clip(folder / f"{name}.mp4", number)
    for number in range(13):
        _clip(folder / f"wave/{number}.mp4", 20 + number)
    for number, name in enumerate(["held/0", "held/1", "held/of_cleo", "bow/both", "clap/damaged"]):
        _clip(folder / f"{name}.mp4", 40 + number)
    _clip(folder / "clap/short.mp4", 50, num_frames=7)
    damage_packets(folder / "clap/damaged.mp4", [13])
    cut_off(write_video(folder / "clap/cut.mp4", num_frames=90, format_options={"movflags": "faststart"}), 0.6)
    shutil.copy(folder / "clap/3.mp4", folder / "bow/misfiled.mp4")
    shutil.copy(folder / "bow/1.mp4", folder / "bow/again.mp4")
    shutil.copy(folder / "bow/both.mp4", folder / "bow/both_again.mp4")
    shutil.copy(folder / "wave/0.mp4", folder / "held/copy.mp4")
    reencode(folder / "bow/2.mp4", folder / "bow/smaller.mp4")
    reencode(folder / "wave/1.mp4", folder / "held/smaller.mp4")
    (folder / "wave/text.mp4").write_bytes(b"no video" * 50)
    Image.fromarray(np.full((32, 48, 3), 90, np.uint8)).save(folder / "wave/picture.png")
    (folder / "wave/picture.png").rename(folder / "wave/picture.mp4")
    _timed(folder / "wave/pause.mp4", 60, [40 * n + 60_000 * (n >= 9) for n in range(24)])
    _timed(folder / "wave/slow.mp4", 61, [4_000 * n for n in range(24)])
    _timed(folder / "wave/equal.mkv", 62, [0] * 24, fps=1325)
    waves = [f"wave/{number}.mp4,wave,{'cleo' if number > 1 else 'dora'}" for number in range(13)]
    (folder / "train.csv").write_text(TRAIN.format(waves="\n".join(waves)))
    (folder / "val.csv").write_text(VAL)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


def _timed(path: Path, number: int, times: list[int], *, fps: int = 25) -> None:
    write_timed(path, times, fps=fps, frames=clip("move_up", "everything", number))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="module")
def checked(planted: Path) -> DataCheck:
    return check_dataset(planted)


def test_every_kind_of_finding_is_planted():
    of_segments = {kind for kind in KINDS if kind.endswith("_segment")}  # planted in test_check_segments.py
    assert {kind for kind, _ in FINDINGS} | of_segments == set(KINDS)


def test_each_fault_is_found_and_nothing_else(checked: DataCheck, planted: Path):
    found = [
        (finding.kind, tuple(os.path.relpath(file, planted) for file in finding.files)) for finding in checked.findings
    ]
    assert set(found) == FINDINGS
    assert len(found) == len(FINDINGS)


def test_the_command_finds_the_same_and_its_clean_list_has_no_errors_left(
    planted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stop:
        main(["check", str(planted), "--json", "--fix", str(tmp_path / "clean"), "--output", str(tmp_path / "page")])
    assert stop.value.code == 1
    content = json.loads(capsys.readouterr().out)
    assert sum(content["counts"].values()) == len(FINDINGS)
    assert (tmp_path / "page/index.html").exists()
    assert check_dataset(tmp_path / "clean").num_errors == 0
