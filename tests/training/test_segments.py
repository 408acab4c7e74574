"""Training from segments of long videos is training from files cut at the same frames, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import pytest
import torch
from jaxtyping import UInt8

from timesformer.config.run import AugmentConfig, DataConfig, RunConfig
from timesformer.config.schema import ClipConfig, Sampling
from timesformer.data.clips.dataset import EvalViews, TrainClips
from timesformer.data.manifest.background import BACKGROUND
from timesformer.data.manifest.manifest import Manifest, load_manifest
from timesformer.data.video.reader import open_reader
from timesformer.data.video.writer import write_mp4
from timesformer.errors import DataError
from timesformer.evaluation.evaluate import evaluate
from timesformer.training.dataloaders import load_data
from timesformer.training.train import train
from timesformer.weights.load import load
from training_runs import are_equal, quiet, weights_of

FPS = 10
SIZE = (26, 34)


class Row(NamedTuple):
    """A labeled segment, in frames."""

    video: str
    label: str
    first: int
    end: int


TRAIN = [
    Row("one", "run", 0, 7),
    Row("one", "walk", 7, 20),
    Row("two", "sit", 3, 14),
    Row("one", "sit", 22, 31),
    Row("one", "run", 25, 43),  # overlaps the one before, goes on to the last frame
    Row("two", "walk", 15, 18),
    Row("two", "run", 20, 29),
]
VAL = [Row("three", "walk", 2, 9), Row("three", "run", 12, 25), Row("three", "sit", 25, 30)]
LENGTHS = {"one": 43, "two": 40, "three": 60}


def write_table(path: Path, rows: list[Row]) -> Path:
    lines = [f"{row.video}.mp4,{row.label},{row.first / FPS},{row.end / FPS}" for row in rows]
    path.write_text("\n".join(["path,label,start,end", *lines]) + "\n")
    return path


FORMATS: dict[str, tuple[str, Callable[[Path, list[Row]], Path]]] = {"table": (".csv", write_table)}
"""Suffix and writer of each format that holds segments; a writer gets seconds from the frames of the rows."""


def pixels_of(video: str) -> UInt8[np.ndarray, "t h w 3"]:
    """Frames no two of which are alike."""
    generator = np.random.default_rng(len(video))
    return generator.integers(0, 256, (LENGTHS[video], *SIZE, 3), dtype=np.uint8)


def write_lossless(path: Path, frames: UInt8[np.ndarray, "t h w 3"]) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_mp4(path, frames, rate=Fraction(FPS), quality={"qp": "0"})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`long/` holds three videos, `cut/` each segment of them as a file, with the lists of these files."""
    folder = tmp_path_factory.mktemp("segments")
    for video in LENGTHS:
        write_lossless(folder / "long" / f"{video}.mp4", pixels_of(video))
    for name, rows in (("train", TRAIN), ("val", VAL)):
        lines = []
        for number, row in enumerate(rows):
            path = write_lossless(folder / "cut" / f"{name}{number}.mp4", pixels_of(row.video)[row.first : row.end])
            lines.append(f"{path.name},{row.label}\n")
        (folder / "cut" / f"{name}.csv").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module", params=list(FORMATS))
def lists(request: pytest.FixtureRequest, folder: Path) -> dict[str, Path]:
    """The lists of the segments in one format."""
    suffix, write = FORMATS[request.param]
    rows = {"train": TRAIN, "val": VAL}
    return {name: write(folder / "long" / f"{name}{suffix}", own) for name, own in rows.items()}


def both(folder: Path, lists: dict[str, Path], name: str) -> tuple[Manifest, Manifest]:
    """The segments, and the files."""
    segments, files = load_manifest(lists[name]), load_manifest(folder / "cut" / f"{name}.csv")
    assert segments.class_names == files.class_names
    assert [sample.label for sample in segments.samples] == [sample.label for sample in files.samples]
    return segments, files


def clip_config(sampling: Sampling) -> ClipConfig:
    spacing = {} if sampling in ("segment", "uniform") else {"frame_stride": 4, "target_fps": 15.0}
    return ClipConfig(sampling=sampling, num_clips=2 if sampling == "dense" else 1, **spacing)


def test_segment_has_the_frames_and_the_rate_of_its_file(folder: Path, lists: dict[str, Path]):
    for segment, file in zip(*(manifest.samples for manifest in both(folder, lists, "train")), strict=True):
        with open_reader(segment.path, segment=segment.segment) as one, open_reader(file.path) as other:
            assert one.info == other.info
            assert (one.read(range(one.info.num_frames)) == other.read(range(one.info.num_frames))).all()
            np.testing.assert_allclose(one.times, other.times, rtol=0, atol=1e-12)  # sums of rounded seconds


@pytest.mark.parametrize("sampling", get_args(Sampling))
@pytest.mark.parametrize("cache", [False, True])
def test_training_clips_equal_those_of_the_files(
    folder: Path, lists: dict[str, Path], run: RunConfig, sampling: Sampling, cache: bool
):
    augment = AugmentConfig(repeats=2, temporal_jitter=0.3, color_jitter=0.2)
    data = DataConfig(flip=True, num_workers=0, cache=cache)
    segments, files = (
        TrainClips(manifest, model=run.model, clip=clip_config(sampling), data=data, seed=7, augment=augment)
        for manifest in both(folder, lists, "train")
    )
    assert len(segments) == len(files) == len(TRAIN)
    if cache:
        segments.preload()
        files.preload()
    for epoch in range(3):
        segments.set_epoch(epoch)
        files.set_epoch(epoch)
        for index in range(len(TRAIN)):
            (one, label), (other, other_label) = segments[index], files[index]
            assert torch.equal(one, other)
            assert label == other_label


@pytest.mark.parametrize("sampling", get_args(Sampling))
def test_views_equal_those_of_the_files(folder: Path, lists: dict[str, Path], run: RunConfig, sampling: Sampling):
    segments, files = (
        EvalViews(manifest, model=run.model, clip=clip_config(sampling)) for manifest in both(folder, lists, "val")
    )
    for index in range(len(VAL)):
        assert torch.equal(segments[index][0], files[index][0])


def test_run_equals_that_on_the_files(folder: Path, lists: dict[str, Path], run: RunConfig, tmp_path: Path):
    of_files = DataConfig(train=str(folder / "cut/train.csv"), val=str(folder / "cut/val.csv"), num_workers=0)
    of_segments = replace(of_files, train=str(lists["train"]), val=str(lists["val"]))
    lines: list[str] = []
    outputs = [str(tmp_path / name) for name in ("segments", "files")]
    for data, output in zip((of_segments, of_files), outputs, strict=True):
        train(replace(run, data=data, output=output), on_message=lines.append)
    assert lines[0].startswith("training: 7 segments of 2 videos in 3 classes, 3 segments of 1 video for validation ")
    assert are_equal(*map(weights_of, outputs))
    one, other = map(load, outputs)
    assert are_equal(one.state_dict(), other.state_dict())
    assert one.info.clip_seconds == other.info.clip_seconds == 0.9
    results = [evaluate(model, data.val, num_workers=0) for model, data in ((one, of_segments), (other, of_files))]
    assert [video.top5 for video in results[0].predictions] == [video.top5 for video in results[1].predictions]
    assert [video.segment for video in results[0].predictions] == [(row.first / FPS, row.end / FPS) for row in VAL]


def test_background_is_a_class_of_both_lists_and_of_the_model(
    folder: Path, lists: dict[str, Path], run: RunConfig, tmp_path: Path
):
    data = DataConfig(train=str(lists["train"]), val=str(lists["val"]), num_workers=0, background=0.5)
    run = replace(run, data=data, epochs=1, output=str(tmp_path / "run"))
    split = load_data(data, seed=run.seed)
    assert split == load_data(data, seed=run.seed)
    for manifest, rows in ((split.train, TRAIN), (split.val, VAL)):
        assert manifest.class_names == ("run", "sit", "walk", BACKGROUND)
        assert [sample.label == 3 for sample in manifest.samples[len(rows) :]] > [False]
    train(run, on_message=quiet)
    model = load(run.output)
    assert model.info.labels == ("run", "sit", "walk", BACKGROUND)
    alone, together = evaluate(model, lists["val"], num_workers=0), evaluate(model, lists["val"], background=0.5)
    assert alone.num_videos == len(VAL)
    assert [video.label for video in together.predictions][len(VAL) :] == [BACKGROUND] * (len(split.val.samples) - 3)
    assert [video.segment for video in together.predictions] == [sample.segment for sample in split.val.samples]


def test_background_that_cannot_be_sampled_is_an_error(folder: Path, lists: dict[str, Path], finished: RunConfig):
    files = DataConfig(train=str(folder / "cut/train.csv"), val=str(lists["val"]), background=1.0)
    with pytest.raises(DataError, match=r"^data\.background, training: .*train0\.mp4 is labeled as a whole"):
        load_data(files, seed=0)
    with pytest.raises(
        DataError, match=r"^background=1 needs a model with the class 'background': train one with data"
    ):
        evaluate(finished.output, finished.data.train, background=1.0)


def test_one_class_is_enough_with_background(folder: Path, tmp_path: Path):
    path = folder / "long" / "single.csv"
    path.write_text("path,label,start,end\none.mp4,run,0,1\ntwo.mp4,run,0,1\n")
    data = DataConfig(train=str(path), val_fraction=0.5, background=1.0)
    assert load_data(data, seed=0).train.class_names == ("run", BACKGROUND)
    with pytest.raises(DataError, match=r"has one class \('run'\); a classifier needs at least two"):
        load_data(replace(data, background=0.0), seed=0)
