import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.dataset import read_eval_views
from timesformer.data.manifest.manifest import Manifest, load_manifest
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.evaluation import Evaluation, write_predictions
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.metrics import wilson_interval
from timesformer.inference.fusion import fuse
from timesformer.inference.predictor import Predictor
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save


def _evaluate(model: TimeSformer, videos: Path | Manifest, **options: object) -> Evaluation:
    return evaluate(model, videos, **{"device": "cpu", "num_workers": 0, **options})


def _with_broken(videos: Path, broken: Path) -> Manifest:
    """The validation videos, of which the second file is not a video."""
    manifest = load_manifest(videos / "val")
    broken.write_bytes(b"no video")
    first, second, *others = manifest.samples
    return Manifest((first, dataclasses.replace(second, path=broken), *others), manifest.class_names)


def test_every_video_has_the_fused_prediction_of_all_its_views(model: TimeSformer, videos: Path):
    evaluation = _evaluate(model, videos)
    manifest = load_manifest(videos / "val")
    assert [video.path for video in evaluation.predictions] == [str(sample.path) for sample in manifest.samples]
    for video in evaluation.predictions:
        views, _ = read_eval_views(video.path, model.config, model.info.clip)
        with torch.inference_mode():
            expected = fuse(model.eval()(views), "softmax")
        assert video.num_views == len(views) == 3
        assert video.predicted == model.info.label(int(expected.argmax()))
        assert video.probability == pytest.approx(float(expected.max()), rel=1e-5)


def test_accuracies_agree_with_the_predictions(model: TimeSformer, videos: Path):
    evaluation = _evaluate(model, videos)
    right = [video.predicted == video.label for video in evaluation.predictions]
    assert evaluation.top1 == np.mean(right)
    assert [video.rank == 1 for video in evaluation.predictions] == right
    assert evaluation.confusion.trace() == sum(right)
    assert evaluation.confusion.sum() == evaluation.num_videos == 9
    assert evaluation.mean_class == pytest.approx(np.mean(evaluation.per_class))
    low, high = evaluation.top1_interval
    assert 0 <= low <= evaluation.top1 <= high <= 1


def test_top_five_of_three_classes_is_everything(model: TimeSformer, videos: Path):
    assert _evaluate(model, videos).top5 == 1.0


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batch_size_changes_no_prediction(model: TimeSformer, videos: Path, batch_size: int):
    one = _evaluate(model, videos, batch_size=3)
    other = _evaluate(model, videos, batch_size=batch_size)
    assert [v.predicted for v in one.predictions] == [v.predicted for v in other.predictions]
    np.testing.assert_allclose(
        [v.probability for v in one.predictions], [v.probability for v in other.predictions], rtol=1e-5
    )


def test_workers_change_no_prediction(model: TimeSformer, videos: Path):
    assert _evaluate(model, videos, num_workers=2).predictions == _evaluate(model, videos).predictions


def test_classes_are_matched_by_name_and_not_by_index(model: TimeSformer, videos: Path):
    by_label = {video.label: Path(video.path).parent.name for video in _evaluate(model, videos).predictions}
    assert by_label == {name: name for name in ("grow", "move_left", "move_right")}


def test_model_folder_can_be_evaluated_by_path(model: TimeSformer, videos: Path, tmp_path: Path):
    save(model, tmp_path / "model")
    by_path = _evaluate(tmp_path / "model", str(videos / "val"))
    assert by_path.predictions == _evaluate(model, videos / "val").predictions


def test_model_keeps_its_mode_and_the_caller_its_random_state(model: TimeSformer, videos: Path):
    model.train()
    state = torch.get_rng_state()
    _evaluate(model, videos)
    assert model.training
    torch.testing.assert_close(torch.get_rng_state(), state)


def test_dropout_is_off(videos: Path):
    config = ModelConfig(
        num_frames=2, image_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2, num_classes=3, dropout=0.5
    )
    model = TimeSformer(config, info=ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1))).train()
    assert _evaluate(model, videos).predictions == _evaluate(model, videos).predictions


def test_progress_counts_every_video_once(model: TimeSformer, videos: Path):
    calls: list[tuple[int, int]] = []
    _evaluate(model, videos, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 9) for done in range(1, 10)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_video_stops_with_its_name_alone(model: TimeSformer, videos: Path, tmp_path: Path, num_workers: int):
    manifest = _with_broken(videos, tmp_path / "broken.mp4")
    with pytest.raises(DecodeError, match=r"broken\.mp4") as caught:
        _evaluate(model, manifest, num_workers=num_workers)
    assert "Traceback" not in str(caught.value)


def test_skipped_video_is_listed_and_not_replaced(model: TimeSformer, videos: Path, tmp_path: Path):
    evaluation = _evaluate(model, _with_broken(videos, tmp_path / "broken.mp4"), on_error="skip")
    assert [video.path for video in evaluation.skipped] == [str(tmp_path / "broken.mp4")]
    assert "broken.mp4" in evaluation.skipped[0].reason
    everything = _evaluate(model, videos)
    assert evaluation.num_videos == len(evaluation.predictions) == everything.num_videos - 1
    expected = everything.predictions[:1] + everything.predictions[2:]
    for found, wanted in zip(evaluation.predictions, expected, strict=True):
        assert (found.path, found.predicted, found.rank) == (wanted.path, wanted.predicted, wanted.rank)
        # a batch of another size rounds differently
        assert found.true_probability == pytest.approx(wanted.true_probability, abs=1e-6)


def test_only_unreadable_videos_are_an_error(model: TimeSformer, videos: Path, tmp_path: Path):
    manifest = _with_broken(videos, tmp_path / "broken.mp4")
    manifest = Manifest(manifest.samples[1:2], manifest.class_names)
    with pytest.raises(DataError, match=r"none of 1 videos could be decoded; the first: .*broken\.mp4"):
        _evaluate(model, manifest, on_error="skip")


def test_outputs_of_broken_weights_are_an_error(model: TimeSformer, videos: Path):
    torch.nn.init.constant_(model.head.bias, math.nan)
    with pytest.raises(TimeSformerError, match=r"\.mp4: the model outputs nan or inf"):
        _evaluate(model, videos)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"num_workers": -1}, "num_workers=-1 must not be negative"),
        ({"top_k": (5, 0)}, r"top_k=\(5, 0\) must hold whole numbers of at least 1, such as \(1, 5\)"),
        ({"top_k": ()}, r"top_k=\(\) must hold"),
        ({"on_error": "ignore"}, "on_error='ignore' is not one of 'raise', 'skip'"),
    ],
)
def test_values_out_of_range_are_refused(model: TimeSformer, videos: Path, options: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        _evaluate(model, videos, **options)


def test_class_without_videos_is_none_in_json(model: TimeSformer, videos: Path):
    manifest = load_manifest(videos / "val")
    only_grow = Manifest(tuple(s for s in manifest.samples if s.label == 0), manifest.class_names)
    found = json.loads(json.dumps(_evaluate(model, only_grow).to_dict()))
    assert found["per_class"]["move_left"] is None
    assert found["per_class"]["grow"] == found["top1"] == found["mean_class"]
    assert found["class_names"] == ["move_left", "move_right", "grow"]
    assert len(found["predictions"]) == found["num_videos"] == 3


def test_written_predictions_have_a_row_for_each_video(model: TimeSformer, videos: Path, tmp_path: Path):
    evaluation = _evaluate(model, videos)
    write_predictions(evaluation, tmp_path / "predictions.csv")
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [video.path for video in evaluation.predictions]
    assert sum(row["label"] == row["predicted"] for row in rows) / len(rows) == evaluation.top1
    assert list(rows[0]) == [
        "path", "label", "predicted", "probability", "rank", "views", "true_probability", "top5"
    ]  # fmt: skip
    for row, video in zip(rows, evaluation.predictions, strict=True):
        assert float(row["true_probability"]) == pytest.approx(video.true_probability, abs=1e-6)
        named = json.loads(row["top5"])
        assert [label for label, _ in named] == [label for label, _ in video.top5]
        assert named[0] == [row["predicted"], float(row["probability"])]
        assert named[video.rank - 1][0] == row["label"]


def test_interval_without_groups_is_wilsons(model: TimeSformer, videos: Path):
    evaluation = _evaluate(model, videos)
    assert evaluation.top1_interval == wilson_interval(evaluation.top1, num_trials=9)
    assert (evaluation.top1_interval_method, evaluation.num_groups) == ("wilson", 0)
    found = evaluation.to_dict()
    assert (found["top1_interval_method"], found["num_groups"]) == ("wilson", 0)
    assert evaluation.describe_interval().endswith("% (Wilson)")


def _in_groups(videos: Path, groups: Sequence[str]) -> Manifest:
    manifest = load_manifest(videos / "val")
    samples = zip(manifest.samples, groups, strict=True)
    return Manifest(tuple(dataclasses.replace(sample, group=group) for sample, group in samples), manifest.class_names)


def test_groups_reach_the_interval_the_results_and_the_table(model: TimeSformer, videos: Path, tmp_path: Path):
    groups = ["anna", "anna", "ben", "anna", "ben", "", "anna", "", "ben"]
    evaluation, plain = _evaluate(model, _in_groups(videos, groups)), _evaluate(model, videos)
    assert [video.group for video in evaluation.predictions] == groups
    assert (evaluation.top1, evaluation.num_groups) == (plain.top1, 4)
    low, high = evaluation.top1_interval
    assert low < plain.top1_interval[0] < plain.top1_interval[1] < high
    assert evaluation.describe_interval().endswith(
        "% (Wilson over 4 groups, 2 of them videos without a group, too few to tell their variance)"
    )
    write_predictions(evaluation, tmp_path / "predictions.csv")
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-1] == "group"
    assert [row["group"] for row in rows] == groups
    found = evaluation.to_dict()
    assert [video["group"] for video in found["predictions"]] == groups
    assert (found["num_groups"], found["top1_interval_method"]) == (4, "wilson_over_groups")


def test_groups_of_skipped_videos_do_not_count(model: TimeSformer, videos: Path, tmp_path: Path):
    manifest = _in_groups(videos, ["ben", "anna", *["ben"] * 7])
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    first, second, *others = manifest.samples
    broken = dataclasses.replace(second, path=tmp_path / "broken.mp4")
    evaluation = _evaluate(model, Manifest((first, broken, *others), manifest.class_names), on_error="skip")
    assert evaluation.num_groups == 1


def test_predictions_that_cannot_be_written_are_an_error(model: TimeSformer, videos: Path, tmp_path: Path):
    evaluation = _evaluate(model, videos)
    with pytest.raises(DataError, match=r"absent.*cannot be written"):
        write_predictions(evaluation, tmp_path / "absent" / "predictions.csv")


def test_any_k_can_be_requested(model: TimeSformer, videos: Path):
    evaluation = _evaluate(model, videos, top_k=(2, 1, 9))
    ranks = [video.rank for video in evaluation.predictions]
    assert evaluation.top_k == {1: ranks.count(1) / 9, 2: (ranks.count(1) + ranks.count(2)) / 9, 9: 1.0}
    assert list(evaluation.to_dict()["top_k"]) == ["1", "2", "9"]


# three views of each of two videos, as (grow, move_left): the middle view of the second is as sure as the first of all
VIEWS = torch.tensor([[9.0, 0.0], [0.0, 6.0], [0.0, 2.5], [1.0, 0.0], [4.0, 0.0], [0.0, 3.0]])


def _evaluate_views(model: TimeSformer, videos: Path, monkeypatch: pytest.MonkeyPatch, fusion: str) -> Evaluation:
    """Two videos of class move_left, whose views have the logits above."""
    third = torch.full((len(VIEWS), 1), -1e4)  # no probability
    given = torch.cat([VIEWS[:, 1:], third, VIEWS[:, :1]], dim=1)  # the model's order: move_left, move_right, grow
    monkeypatch.setattr(Predictor, "logits", lambda self, clips: given)
    model.info = dataclasses.replace(model.info, clip=dataclasses.replace(model.info.clip, fusion=fusion))
    manifest = load_manifest(videos / "val")
    moving = tuple(s for s in manifest.samples if manifest.class_names[s.label] == "move_left")
    return _evaluate(model, Manifest(moving[:2], manifest.class_names), batch_size=6)


def test_mean_of_probabilities_by_hand(model: TimeSformer, videos: Path, monkeypatch: pytest.MonkeyPatch):
    evaluation = _evaluate_views(model, videos, monkeypatch, "softmax")
    first, second = evaluation.predictions
    # of grow: 0.99988, 0.00247, 0.07586; then 0.73106, 0.98201, 0.04743
    assert (first.predicted, first.rank) == ("move_left", 1)
    assert first.probability == pytest.approx(1 - (0.999877 + 0.002473 + 0.075858) / 3, abs=1e-5)
    assert (second.predicted, second.rank) == ("grow", 2)
    assert second.probability == pytest.approx((0.731059 + 0.982014 + 0.047426) / 3, abs=1e-5)
    assert (evaluation.top1, evaluation.top_k) == (0.5, {1: 0.5, 5: 1.0})
    assert evaluation.confusion.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal(evaluation.precision, [1, np.nan, 0])
    # confidences 0.6406 and 0.5868 lie in bins (9/15, 10/15] and (8/15, 9/15]
    assert [part.count for part in evaluation.calibration.bins] == [0] * 8 + [1, 1] + [0] * 5
    assert evaluation.calibration.ece == pytest.approx((1 - 0.640597 + 0.586833) / 2, abs=1e-5)
    assert evaluation.calibration.nll == pytest.approx(-(math.log(0.640597) + math.log(1 - 0.586833)) / 2, abs=1e-5)


def test_summed_logits_by_hand_change_the_first_prediction(
    model: TimeSformer, videos: Path, monkeypatch: pytest.MonkeyPatch
):
    evaluation = _evaluate_views(model, videos, monkeypatch, "logits")
    first, second = evaluation.predictions
    # sums 9 to 8.5 and 5 to 3, thirds of which become probabilities
    assert [first.predicted, second.predicted] == ["grow", "grow"]
    assert first.probability == pytest.approx(1 / (1 + math.exp(-0.5 / 3)), abs=1e-6)
    assert second.true_probability == pytest.approx(1 / (1 + math.exp(2 / 3)), abs=1e-6)
    assert evaluation.top1 == 0


def test_classes_of_the_table_have_recall_precision_and_counts(
    model: TimeSformer, videos: Path, monkeypatch: pytest.MonkeyPatch
):
    written = _evaluate_views(model, videos, monkeypatch, "softmax").to_dict()
    assert written["classes"] == [
        {"name": "move_left", "recall": 0.5, "precision": 1.0, "support": 2, "predicted": 1},
        {"name": "move_right", "recall": None, "precision": None, "support": 0, "predicted": 0},
        {"name": "grow", "recall": None, "precision": 0.0, "support": 0, "predicted": 1},
    ]
    assert written["most_confused"] == [{"label": "move_left", "predicted": "grow", "videos": 1}]
