"""The curve over numbers of training videos: nested parts, the same validation videos, and what more would give."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fake_trainer import CLASSES, PERSONS, FakeTrainer
from timesformer.cross_validation.curve import draw_curve
from timesformer.cross_validation.curve_result import CurvePoint, compare, format_curve
from timesformer.cross_validation.run import cross_validate
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.errors import ConfigError
from timesformer.evaluation.predictions import VideoOutput
from timesformer.evaluation.summary import summarize
from timesformer.training.dataloaders import load_data


def test_each_part_is_evaluated_on_the_same_videos(run):
    trainer = FakeTrainer()
    curve = draw_curve(run, train=trainer)
    parts = [load_data(each.data, seed=each.seed) for each in trainer.runs]
    assert [each.data.train_fraction for each in trainer.runs] == [0.25, 0.5, 1.0]
    assert parts[0].val == parts[1].val == parts[2].val
    assert set(parts[0].train.samples) < set(parts[1].train.samples) < set(parts[2].train.samples)
    assert [point.num_train for point in curve.points] == [len(part.train.samples) for part in parts] == [3, 6, 15]
    assert curve.unit == "videos of the same groups"
    assert [point.num_groups for point in curve.points] == [len(part.train.groups) for part in parts]
    expected = [str(path) for path in parts[0].val.paths]
    assert [[video.path for video in point.evaluation.predictions] for point in curve.points] == [expected] * 3


def test_the_result_the_picture_and_the_page_say_it(run):
    curve = draw_curve(run, train=FakeTrainer())
    found = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
    assert [point["percentage"] for point in found["points"]] == [25, 50, 100]
    assert found["conclusion"].startswith("15 training videos instead of 6 gave ")
    assert "more videos of the same groups help cannot be told" in found["conclusion"]
    assert found["gain"] == pytest.approx(found["points"][2]["top1"] - found["points"][1]["top1"])
    with Image.open(Path(run.output) / "curve.png") as picture:
        assert picture.size == (768, 480)
    page = (Path(run.output) / "report.html").read_text("utf-8")
    assert "Accuracy over the number of training videos" in page and "data:image/png" in page
    assert "15 training videos instead of 6 gave" in page
    assert format_curve(curve).splitlines()[1].split()[:3] == ["25", "%", str(curve.points[0].num_train)]


def test_with_folds_every_video_is_evaluated_at_each_point(run):
    trainer = FakeTrainer()
    curve = draw_curve(replace(run, keep="last"), num_folds=2, train=trainer)
    assert [(each.data.train_fraction, each.data.fold) for each in trainer.runs] == [
        (fraction, fold) for fraction in (0.25, 0.5, 1.0) for fold in (1, 2)
    ]
    assert {point.evaluation.num_videos for point in curve.points} == {len(PERSONS) * len(CLASSES)}
    whole = cross_validate(replace(run, keep="last", output=f"{run.output}_2"), num_folds=2, train=FakeTrainer())
    assert curve.points[-1].evaluation.top1 == whole.evaluation.top1
    assert curve.describe_choice() == "nothing was chosen by validation"


@pytest.mark.parametrize("num_folds", [0, 2])
def test_finished_points_are_not_trained_again(run, num_folds):
    fails_at = 3 if num_folds else 2
    with pytest.raises(KeyboardInterrupt):
        draw_curve(run, num_folds=num_folds, train=FakeTrainer(fails_at=fails_at))
    rest = FakeTrainer()
    curve = draw_curve(run, num_folds=num_folds, train=rest, resume=True)
    assert [each.data.train_fraction for each in rest.runs] == [0.5, 1.0] if not num_folds else [0.5, 0.5, 1.0, 1.0]
    whole = draw_curve(replace(run, output=f"{run.output}_2"), num_folds=num_folds, train=FakeTrainer())
    assert [p.evaluation.top1 for p in curve.points] == [p.evaluation.top1 for p in whole.points]


def test_what_does_not_fit_is_refused(run, tmp_path):
    trainer = FakeTrainer()
    draw_curve(run, train=trainer)
    refusals = [
        (run, {}, "already holds a curve over numbers of videos"),
        (run, {"resume": True, "num_folds": 2}, "num_folds was 0 and is 2"),
        (run, {"resume": True, "overwrite": True}, "resume and overwrite exclude each other"),
        (replace(run, data=replace(run.data, train_fraction=0.5)), {}, r"data\.train_fraction=0\.5 has no effect"),
    ]
    for changed, options, message in refusals:
        with pytest.raises(ConfigError, match=message):
            draw_curve(changed, train=trainer, **options)
    with pytest.raises(ConfigError, match="holds a curve over numbers of videos: name another folder for a cross"):
        cross_validate(run, num_folds=2, train=trainer, overwrite=True)


def point(right, *, percentage, groups=()):
    """A point whose model is right on some videos."""
    samples = tuple(Sample(Path(f"{k}.mp4"), 0, groups[k] if groups else "") for k in range(len(right)))
    outputs = [
        VideoOutput(k, np.array([0.9, 0.1] if hit else [0.1, 0.9], dtype=np.float32), 1) for k, hit in enumerate(right)
    ]
    evaluation = summarize(Manifest(samples, ("a", "b")), outputs, protocol="x", top_k=(1,))
    return CurvePoint(percentage=percentage, num_train=percentage, num_groups=0, evaluation=evaluation, seconds=60.0)


def curve_of(half, whole, **options):
    points = [point(half, percentage=25), point(half, percentage=50), point(whole, percentage=100)]
    return compare(points, folder=Path("x"), unit="videos", num_folds=0, chooses=True, **options)


def test_a_gain_that_chance_would_not_give_is_a_reason_for_more_videos():
    numbers = np.arange(200)
    curve = curve_of(numbers % 10 < 6, numbers % 10 < 8)
    low, high = curve.gain_interval
    assert 0.1 < low < curve.gain < high
    assert curve.gain == pytest.approx(0.2)
    assert curve.describe() == (
        f"100 training videos instead of 50 gave +20.0 points, 95 % interval {100 * low:+.1f} to "
        f"{100 * high:+.1f}: more videos help; if errors keep falling at that rate, twice as many again give about 90%."
    )


def test_no_gain_on_many_videos_is_a_reason_against_more():
    numbers = np.arange(4000)
    curve = curve_of(numbers % 10 < 8, numbers % 10 < 8)
    assert "gave no gain (+0.0 points" in curve.describe() and "hardly help" in curve.describe()


def test_a_gain_on_few_videos_tells_nothing():
    numbers = np.arange(20)
    curve = curve_of(numbers % 10 < 7, numbers % 10 < 8)
    assert curve.describe().endswith(
        "whether more videos help cannot be told from the 20 videos of the evaluation; with folds all videos are "
        "evaluated."
    )
    assert "a little too high" in curve.describe_choice()
