"""Rows of `timeline --job`."""

import pickle

import pyarrow as pa
import pytest

from timesformer.config.compute import ComputeOptions
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError
from timesformer.jobs.item import Failure, Item
from timesformer.jobs.timeline import timeline_task
from timesformer.timelines.run import timeline, weights_sha256
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from videos import write_timed, write_video

OPTIONS = ComputeOptions(device="cpu", batch_size=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder: windows of 0.8 s."""
    info = ModelInfo(clip=ClipConfig(frame_stride=8, num_crops=1), labels=tuple("abcdefg"))
    return str(save(random_model(tiny_config(), info=info, seed=3), tmp_path_factory.mktemp("models") / "m"))


def _task(model, **changes):
    given = {"window": None, "stride": None, "mode": "exclusive", "given": {"min_on": 0}, "overrides": {}}
    return timeline_task(model, options=OPTIONS, **given | changes)


def _results(task, *paths):
    with pickle.loads(pickle.dumps(task)).open() as compute:
        return list(compute([Item(path=str(path)) for path in paths]))


def test_a_row_is_the_timeline_of_its_video(model, tmp_path):
    times = [40 * number + (1500 if number >= 40 else 0) for number in range(75)]
    video = write_timed(tmp_path / "day.mp4", times)
    task = _task(model)
    [row] = pa.Table.from_pylist(_results(task, video), schema=task.schema).to_pylist()
    expected = timeline(model, video, min_on=0, options=OPTIONS).to_dict()
    assert len(row["segments"]) > 1 and len(row["gaps"]) == 1
    assert row["segments"] == [
        {name: value for name, value in each.items() if name != "index"} for each in expected["segments"]
    ]
    assert row["gaps"] == expected["gaps"]
    source = expected["source"]
    assert {name: row[name] for name in ("duration", "fps", "num_frames", "sha256", "height", "width")} == {
        name: value for name, value in source.items() if name not in ("path", "is_variable")
    }
    assert (row["window"], row["stride"]) == (expected["window"], expected["stride"]) == (0.8, 0.2)
    assert task.model_sha256 == expected["model"]["sha256"] == weights_sha256(load(model))


def test_a_video_that_has_no_timeline_is_a_failure_and_the_others_have_rows(model, tmp_path):
    whole, short = write_video(tmp_path / "a.mp4", num_frames=25), write_video(tmp_path / "b.mp4", num_frames=12)
    (tmp_path / "c.mp4").write_bytes(b"no video" * 50)
    row, too_short, broken = _results(_task(model), whole, short, tmp_path / "c.mp4")
    assert row["num_frames"] == 25
    assert isinstance(too_short, Failure) and "lasts 0.48 s, less than one window of 0.8 s" in too_short.reason
    assert isinstance(broken, Failure) and "c.mp4: not a video" in broken.reason


def test_settings_are_those_of_the_decision_and_of_the_windows(model):
    settings = _task(model, mode="overlapping", given={"onset": 0.7}).settings
    expected = {"mode": "overlapping", "onset": 0.7, "offset": 0.4, "min_on": 0.4, "window": 0.8, "stride": 0.2}
    assert expected.items() <= settings.items()
    assert settings["precision"] == "fp32"
    assert settings["labels"] == list("abcdefg")


def test_settings_without_effect_are_refused_before_the_work(model):
    with pytest.raises(ConfigError, match="onset has no effect on mode='exclusive'"):
        _task(model, given={"onset": 0.7})
