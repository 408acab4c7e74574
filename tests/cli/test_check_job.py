"""`timesformer check --job` from end to end."""

import json
import shutil

import pytest

from planted_faults import FINDINGS, LEFT_OUT, plant
from timesformer.data.check.cache import CACHE_FILE
from videos import write_video


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def job(planted, tmp_path_factory):
    """The folder of a finished job over the planted data set; not yet made."""
    return tmp_path_factory.mktemp("jobs") / "check"


def test_findings_page_and_lists_equal_those_of_a_plain_check(run, planted, job, tmp_path):
    plain = run("check", planted, "--json", "--fix", tmp_path / "plain", "--output", tmp_path / "page")
    by_job = run("check", planted, "--json", "--fix", tmp_path / "fixed", "--output", tmp_path / "page2", "--job", job,
                 "--workers", "1")  # fmt: skip
    assert (by_job[0], by_job[2]) == (plain[0], plain[2]) == (1, plain[2])
    first, second = json.loads(plain[1]), json.loads(by_job[1])
    listed = {(f["kind"], tuple(file.removeprefix(f"{planted}/") for file in f["files"])) for f in second["findings"]}
    assert listed == FINDINGS
    assert len(second["fix"]["left_out"]) == len(LEFT_OUT)
    for content in (first, second):
        del content["page"], content["fix"]["lists"]
    assert first == second
    for name in ("train.csv", "val.csv"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "fixed" / name).read_bytes()
    assert (tmp_path / "page/index.html").read_bytes() == (tmp_path / "page2/index.html").read_bytes()


def _videos(folder):
    for name in ("wave/a.mp4", "wave/b.mp4", "clap/a.mp4", "clap/b.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(folder / name, num_frames=8 + len(list(folder.rglob("*.mp4"))))
    return folder


def test_cache_is_neither_read_nor_written_and_a_finished_job_scans_nothing(run, tmp_path):
    videos = _videos(tmp_path / "videos")
    status, out, err = run("check", videos, "--job", tmp_path / "job", "--workers", "1")
    assert (status, err) == (0, "")
    assert "nothing wrong" in out
    assert not (videos / CACHE_FILE).exists()
    for video in videos.rglob("*.mp4"):
        video.write_bytes(b"no video" * 50)
    status, out, err = run("check", videos, "--job", tmp_path / "job", "--workers", "1", "--json")
    assert (status, json.loads(out)["counts"]) == (0, {})
    assert err == (
        f"4 files have changed since they were scanned (such as {videos}/clap/a.mp4); the findings are about what they "
        "were: a new --job folder scans all\n"
    )


def test_shards_scan_and_the_same_command_without_shard_finds(run, tmp_path):
    videos, job = _videos(tmp_path / "videos"), tmp_path / "job"
    for number in range(12):
        shutil.copy(videos / "wave/a.mp4", videos / f"wave/copy{number}.mp4")
    common = ("check", videos, "--job", job, "--workers", "1")
    status, out, err = run(*common, "--shard", "0/2")
    assert (status, out) == (0, f"{job}: shard 0/2 is done; 8 files of other shards are left\n")
    assert "without --shard, the same command makes the findings when all shards are done" in err
    assert run(*common, "--shard", "1/2")[:2] == (0, f"{job}: shard 1/2 is done; 0 files of other shards are left\n")
    status, out, _ = run(*common, "--json")
    assert json.loads(out)["counts"] == {"duplicate": 1}
    assert json.loads((job / "runs.jsonl").read_text().splitlines()[-1])["shard"] == "0/1"


def test_missing_file_is_missing_not_unreadable(run, tmp_path):
    videos = _videos(tmp_path / "videos")
    (tmp_path / "all.csv").write_text("videos/wave/a.mp4,0\nvideos/clap/a.mp4,1\nvideos/none.mp4,0\n")
    run_json = ("check", tmp_path / "all.csv", "--json")
    plain, by_job = run(*run_json), run(*run_json, "--job", tmp_path / "job", "--workers", "1")
    assert json.loads(plain[1])["counts"] == {"missing": 1}
    assert by_job == plain
    assert videos.is_dir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-workers", "2"], "--num-workers has no effect with --job: pass --workers"),
        (["--shard", "0/2", "--output", "page"], "--output has no effect with --shard, which only scans"),
        (["--shard", "0/2", "--fix", "clean.csv"], "--fix has no effect with --shard, which only scans"),
        (["--allow-codec", "nonsense"], "nonsense"),
    ],
)
def test_options_without_effect_are_refused(run, tmp_path, options, message):
    status, _, err = run("check", _videos(tmp_path / "videos"), "--job", tmp_path / "job", *options)
    assert status == 2
    assert message in err
    assert not (tmp_path / "job").exists()


def test_job_folder_in_the_data_set_is_refused(run, tmp_path):
    videos = _videos(tmp_path / "videos")
    status, _, err = run("check", videos, "--job", videos / "job")
    assert status == 2
    assert f"--job {videos}/job: lies in the data set {videos}; name a folder outside" in err


def test_options_of_a_job_need_one(run, tmp_path):
    status, _, err = run("check", _videos(tmp_path / "videos"), "--shard", "0/2")
    assert status == 2
    assert "--shard has no effect without --job" in err


def test_overwrite_with_an_output_keeps_the_job(run, tmp_path):
    common = ("check", _videos(tmp_path / "videos"), "--job", tmp_path / "job", "--workers", "1")
    assert run(*common, "--output", tmp_path / "page")[0] == 0
    assert run(*common, "--output", tmp_path / "page", "--overwrite")[0] == 0
    assert len((tmp_path / "job/runs.jsonl").read_text().splitlines()) == 2
    assert run(*common, "--overwrite")[0] == 0
    assert len((tmp_path / "job/runs.jsonl").read_text().splitlines()) == 1
