"""The options of `timesformer evaluate`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from timesformer.cli.main import main
from timesformer.config.schema import ClipConfig
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(model: TimeSformer, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Evaluate a saved model, whose clips are dense and cropped once; gives exit status, stdout and stderr."""
    model.info = replace(model.info, clip=ClipConfig(frame_stride=1, num_crops=1, test_scale=1.0))
    folder = save(model, tmp_path / "model")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", str(videos), "--model", str(folder), "--num-workers", "0", *map(str, arguments)])
        return int(caught.value.code or 0), *capsys.readouterr()

    return call


@pytest.mark.parametrize(
    ("options", "protocol", "views"),
    [
        ((), "dense 2x1 at 30 fps, 1 clip x 1 crop of 16x16, softmax fusion", 1),
        (("--num-clips", 5, "--num-crops", 3), "dense 2x1 at 30 fps, 5 clips x 3 crops of 16x16, softmax fusion", 15),
        (
            ("--sampling", "center", "--num-crops", 3),
            "center 2x1 at 30 fps, 1 clip x 3 crops of 16x16, softmax fusion (views and fusion as in the paper)",
            3,
        ),
        # 5 frames at 16 a second: clips of 2 frames start at 0, 2 and 4
        (
            ("--sampling", "coverage", "--set", "clip.target_fps=16"),
            "coverage 2x1 at 16 fps, all clips x 1 crop of 16x16, softmax fusion",
            3,
        ),
        (("--sampling", "uniform", "--fusion", "logits"), "uniform 2, 1 clip x 1 crop of 16x16, logits fusion", 1),
        (
            ("--set", "clip.num_clips=2", "--set", "num_frames=4"),
            "dense 4x1 at 30 fps, 2 clips x 1 crop of 16x16, softmax fusion",
            2,
        ),
    ],
)
def test_requested_views_are_used_and_named(run: Run, options: tuple[object, ...], protocol: str, views: int):
    status, out, _ = run("--json", *options)
    written = json.loads(out)
    assert status == 0
    assert written["protocol"] == protocol
    assert {video["views"] for video in written["predictions"]} == {views}


def test_field_that_is_given_twice_is_refused(run: Run):
    status, _, err = run("--num-crops", 3, "--set", "clip.num_crops=1")
    assert status == 2
    assert "num_crops is given twice: by its own option and by --set clip.num_crops" in err


def test_unknown_field_of_the_clips_is_refused_with_a_suggestion(run: Run):
    status, _, err = run("--set", "clip.num_clip=3")
    assert status == 2
    assert "num_clips" in err


def test_every_k_is_printed_with_calibration_and_protocol(run: Run):
    status, out, _ = run("--top-k", "1,2,10", "--batch-size", 1)
    lines = [line.split("  ")[0] for line in out.splitlines()]
    assert status == 0
    assert lines == ["top-1", "top-2", "top-10", "mean over classes", "calibration error", "videos", "protocol"]
    assert "top-10             100.0%" in out


@pytest.mark.parametrize("text", ["0", "1,,5", "five", "-1"])
def test_top_k_that_is_not_a_number_is_refused(run: Run, text: str):
    status, _, err = run(f"--top-k={text}")
    assert status == 2
    assert "is not a list of whole numbers from 1" in err


def test_interval_names_its_method(run: Run):
    assert "% (Wilson)\n" in run()[1]


def test_interval_of_a_list_with_groups_is_over_them(
    run: Run, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    paths = sorted((videos / "val").rglob("*.mp4"))
    lines = [f"{path},{path.parent.name},person {number % 2}\n" for number, path in enumerate(paths)]
    (tmp_path / "val.csv").write_text("path,label,group\n" + "".join(lines))
    files = ("--page", str(tmp_path / "page.html"), "--csv", str(tmp_path / "predictions.csv"))
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(tmp_path / "val.csv"), "--model", str(tmp_path / "model"), "--num-workers", "0", *files])
    assert not caught.value.code
    told = "% (Wilson with the variance between 2 groups)"
    assert told in capsys.readouterr().out
    assert told in (tmp_path / "page.html").read_text("utf-8")
    rows = (tmp_path / "predictions.csv").read_text("utf-8").splitlines()
    assert [row.split(",")[-1] for row in rows] == ["group", *(f"person {number % 2}" for number in range(9))]
