"""Inputs of a predictor: files, lists of them, and frames in memory; and what it leaves unchanged."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

import timesformer as tsf
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, DataError, DecodeError
from timesformer.inference.predictor import Prediction, Predictor
from timesformer.inference.read_ahead import read_ahead
from timesformer.model import TimeSformer
from tiny import random_model, tiny_config
from videos import write_video


@pytest.fixture
def model() -> TimeSformer:
    clip = ClipConfig(frame_stride=2, num_clips=2, num_crops=3)
    return random_model(tiny_config(), info=ModelInfo(clip=clip, labels=tuple("abcdefg")))


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    return [write_video(tmp_path / f"{n}.mp4", num_frames=4 + 3 * n) for n in range(5)]


def assert_same(got: Prediction, want: Prediction) -> None:
    assert (got.path, got.indices, got.num_views) == (want.path, want.indices, want.num_views)
    assert got.probabilities == pytest.approx(want.probabilities, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_a_list_gives_the_predictions_of_its_videos_in_order(model: TimeSformer, videos: list[Path], batch_size: int):
    predictor = Predictor(model, batch_size=batch_size)
    predictions = predictor(videos, top_k=3)
    assert [prediction.num_views for prediction in predictions] == [6] * 5
    for prediction, video in zip(predictions, videos, strict=True):
        assert_same(prediction, predictor(video, top_k=3))


def test_an_empty_list_gives_an_empty_list(model: TimeSformer):
    assert Predictor(model)([]) == []


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_frames_in_memory_are_classified_as_their_file(model: TimeSformer, videos: list[Path], kind: type):
    info = tsf.probe(videos[2])
    frames = kind(tsf.read_frames(videos[2], range(info.num_frames)))
    got, want = Predictor(model)(frames, fps=info.fps), Predictor(model)(videos[2])
    assert got.path == ""
    assert got.indices == want.indices
    assert got.probabilities == pytest.approx(want.probabilities, abs=1e-6)
    assert (got.num_frames, got.fps) == (want.num_frames, want.fps)


def test_rate_of_frames_in_memory_counts(videos: list[Path]):
    clip = ClipConfig(frame_stride=2, target_fps=10, num_crops=1)
    predictor = Predictor(random_model(tiny_config(), info=ModelInfo(clip=clip)))
    frames = tsf.read_frames(videos[4], range(16))
    assert predictor(frames, fps=10.0).probabilities != predictor(frames).probabilities
    assert predictor(frames).fps == 30.0


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((4, 8, 20, 3), np.float32),
        np.zeros((4, 3, 8, 20), np.uint8),
        np.zeros((8, 20, 3), np.uint8),
        np.zeros((0, 8, 20, 3), np.uint8),
        torch.zeros(2, 4, 8, 20, 3, dtype=torch.uint8),
    ],
    ids=lambda frames: f"{tuple(frames.shape)}",
)
def test_frames_of_another_shape_or_type_are_refused(model: TimeSformer, frames: np.ndarray):
    with pytest.raises(
        DataError, match=r"are not a video: allowed are RGB frames as uint8 \[frames, height, width, 3\]"
    ):
        Predictor(model)(frames)


def test_a_rate_for_a_file_is_refused(model: TimeSformer, videos: list[Path]):
    with pytest.raises(ConfigError, match=r"fps=12\.0 is for frames in memory, but .*0\.mp4 is a file"):
        Predictor(model)(videos[0], fps=12.0)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_rate_is_refused(model: TimeSformer, fps: float):
    with pytest.raises(DataError, match="must be greater than 0, and finite"):
        Predictor(model)(np.zeros((4, 8, 20, 3), np.uint8), fps=fps)


def test_a_given_rate_that_no_recording_has_is_told(model: TimeSformer, caplog: pytest.LogCaptureFixture):
    model.info = replace(model.info, clip=ClipConfig(sampling="center", num_crops=1))
    prediction = Predictor(model)(np.zeros((4, 8, 20, 3), np.uint8), fps=480.0)
    told = "480 frames a second as given, above 240; dense clips count frames, as if the video had the target rate"
    assert (prediction.fps, prediction.timing) == (480.0, f"{told} of the clips")
    assert caplog.messages == [f"frames in memory: {told} of the clips"]


def test_an_unreadable_file_is_raised_or_takes_the_place_of_its_prediction(model: TimeSformer, videos: list[Path]):
    videos[1].write_text("no video")
    predictor = Predictor(model)
    with pytest.raises(DecodeError, match=r"1\.mp4"):
        predictor(videos)
    results = list(predictor.each(videos, on_error="yield"))
    assert [isinstance(result, DecodeError) for result in results] == [False, True, False, False, False]
    assert "1.mp4" in str(results[1])


def test_videos_may_be_endless(model: TimeSformer, videos: list[Path]):
    predictions = Predictor(model).each(videos[0] for _ in count())
    assert [next(predictions).num_views for _ in range(7)] == [6] * 7


@pytest.mark.parametrize("fast", [True, False])
def test_the_given_model_keeps_its_mode_and_its_weights(model: TimeSformer, videos: list[Path], fast: bool):
    want = Predictor(model, fast=fast)(videos[0])
    model.train()
    predictor = Predictor(model, fast=fast)
    assert model.training
    with torch.no_grad():
        model.head.bias += 1e3 * torch.arange(7)  # the predictor owns its weights
    assert_same(predictor(videos[0]), want)


def test_a_prediction_names_its_best_class(model: TimeSformer, videos: list[Path]):
    prediction = Predictor(model)(videos[0], top_k=2)
    assert (prediction.label, prediction.probability) == (prediction.labels[0], prediction.probabilities[0])


def test_reading_ahead_keeps_the_order_and_reads_no_more_than_it_may():
    started: list[int] = []
    lock = threading.Lock()

    def read(number: int) -> int:
        with lock:
            started.append(number)
        return number * number

    items = read_ahead(read, count(), num_threads=2, num_ahead=3)
    assert [next(items) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert max(started) <= 4 + 3  # the five that were asked for, and three ahead
    items.close()
    stopped = len(started)
    assert stopped <= 8


def test_what_reading_raises_is_raised_in_its_place():
    def read(number: int) -> int:
        return 6 // number

    items: Iterator[int] = read_ahead(read, [3, 2, 0, 1])
    assert [next(items), next(items)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(items)
