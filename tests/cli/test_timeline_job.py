"""`timesformer timeline --job` from end to end."""

import json

import pyarrow.parquet as pq
import pytest

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.timelines.run import timeline
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from videos import write_video


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder: windows of 0.8 s."""
    info = ModelInfo(clip=ClipConfig(frame_stride=8, num_crops=1), labels=tuple("abcdefg"))
    return save(random_model(tiny_config(), info=info, seed=3), tmp_path_factory.mktemp("models") / "m")


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.mp4", "more/b c.mp4")):
        write_video(folder / name, num_frames=30 + 20 * number)
    (folder / "bad.mp4").write_bytes(b"no video" * 50)
    return folder


def test_each_video_has_a_row_or_is_in_quarantine(run, model, videos, tmp_path):
    job = tmp_path / "job"
    status, out, err = run("timeline", videos, "--model", model, "--min-on", "0", "--job", job, "--workers", "1")
    assert (status, out) == (1, f"{job}/rows/: 2 rows\n")
    assert "1 of 3 videos have no row" in err
    rows = pq.read_table(job / "rows").to_pylist()
    assert [row["path"] for row in rows] == [f"{videos}/a.mp4", f"{videos}/more/b c.mp4"]
    for row in rows:
        expected = timeline(str(model), row["path"], min_on=0)
        assert [(each["label"], each["start"], each["end"], each["score"]) for each in row["segments"]] == [
            (each.label, each.start, each.end, each.score) for each in expected.segments
        ]
    [entry] = map(json.loads, (job / "quarantine.jsonl").read_text().splitlines())
    assert (entry["path"], entry["signal"]) == (f"{videos}/bad.mp4", "")
    assert "not a video" in entry["reason"]
    settings = json.loads((job / "job.json").read_text())["settings"]
    assert {"mode": "exclusive", "min_on": 0, "window": 0.8, "stride": 0.2}.items() <= settings.items()


def test_other_thresholds_are_another_job(run, model, videos, tmp_path):
    common = ("timeline", videos / "a.mp4", "--model", model, "--job", tmp_path / "job", "--workers", "1")
    assert run(*common)[0] == 0
    status, _, err = run(*common, "--mode", "overlapping", "--onset", "0.7")
    assert status == 2
    assert "holds another job" in err
    assert "mode was 'exclusive' and is 'overlapping'" in err
    assert "onset was 0.6 and is 0.7" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "day"], "--output has no effect with --job, whose rows hold the segments: for curves and other"),
        (["--to", "csv"], "--to has no effect with --job"),
        (["--curves", "curves.npz"], "--curves has no effect with --job"),
        (["--duration", "9"], "--duration has no effect on --job: it is for cameras and addresses"),
        (["--onset", "0.7"], "onset has no effect on mode='exclusive'"),
        (["rtsp://camera/1"], "rtsp://camera/1: is a live stream, which has no end: --job takes files"),
        (["-"], "-: --job reads files"),
    ],
)
def test_options_without_effect_on_a_job_are_refused_before_it_starts(run, model, videos, tmp_path, options, message):
    status, _, err = run("timeline", videos, *options, "--model", model, "--job", tmp_path / "job")
    assert status == 2
    assert message in err
    assert not (tmp_path / "job").exists()


def test_no_video_is_refused(run, model, tmp_path):
    status, _, err = run("timeline", "--model", model, "--job", tmp_path / "job")
    assert (status, err) == (2, "error: which videos? Give VIDEO..., or --list with a file of paths\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "all.txt: cannot be read: No such file or directory"), ("# none\n\n", "all.txt: names no video")],
)
def test_list_without_videos_costs_no_finished_job(run, model, videos, tmp_path, content, message):
    common = ("timeline", "--model", model, "--job", tmp_path / "job", "--workers", "1")
    assert run(*common, videos / "a.mp4")[0] == 0
    rows = (tmp_path / "job/rows/part-00000.parquet").read_bytes()
    if content is not None:
        (tmp_path / "all.txt").write_text(content)
    status, _, err = run(*common, "--list", tmp_path / "all.txt", "--overwrite")
    assert status == (1 if content is None else 2)
    assert message in err
    assert (tmp_path / "job/rows/part-00000.parquet").read_bytes() == rows


def test_segments_of_a_list_are_refused(run, model, videos, tmp_path):
    (tmp_path / "all.csv").write_text("path,start,end\nvideos/a.mp4,0,1\n")
    status, _, err = run("timeline", "--list", tmp_path / "all.csv", "--model", model, "--job", tmp_path / "job")
    assert status == 2
    assert "timeline --job takes whole videos: leave out the columns start, end" in err


@pytest.mark.parametrize("given", [["a.mp4", "more/b c.mp4"], ["--list", "all.txt"]])
def test_several_videos_need_a_job(run, model, videos, monkeypatch, given):
    monkeypatch.chdir(videos)
    (videos / "all.txt").write_text("a.mp4\n")
    status, _, err = run("timeline", *given, "--model", model)
    assert status == 2
    assert "without --job, timeline takes one video; --job DIR writes a row for each" in err


def test_options_of_a_job_need_one(run, model, videos):
    status, _, err = run("timeline", videos / "a.mp4", "--model", model, "--workers", "2")
    assert status == 2
    assert "--workers has no effect without --job" in err
