"""`coverage` of long videos: views come in pieces, the predictions are those of all views at once."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from timesformer.config.compute import ComputeOptions
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.clips import pieces
from timesformer.data.clips.dataset import read_pixel_views
from timesformer.data.clips.pieces import Piece, read_piece
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.data.video.reader import open_reader
from timesformer.errors import DecodeError
from timesformer.evaluation.evaluate import evaluate
from timesformer.inference import predictor as predictor_module
from timesformer.inference.embed import embed
from timesformer.inference.fusion import fuse
from timesformer.inference.predictor import Predictor
from timesformer.jobs.decode import decoding
from timesformer.jobs.item import Failure, Item
from timesformer.model import TimeSformer
from tiny import random_model, tiny_config
from videos import write_video

CLIP = ClipConfig(sampling="coverage", frame_stride=1, target_fps=25, num_crops=3)
CONFIG = tiny_config()
NUM_FRAMES = 400
"""134 clips of 3 frames, each of 3 views; a piece has 42 clips."""
NUM_VIEWS, PER_PIECE = 3 * 134, 3 * 42


@pytest.fixture(scope="module")
def model() -> TimeSformer:
    return random_model(CONFIG, info=ModelInfo(clip=CLIP, labels=tuple("abcdefg")))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    return write_video(folder / "long.mp4", num_frames=NUM_FRAMES, height=24, width=40, fps=25)


@pytest.fixture
def most_alive(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The largest number of views that were alive at a time, in pieces that this process reads."""
    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = [0]

    def read(*args, **keywords) -> Piece:
        piece = read_piece(*args, **keywords)
        alive.add(piece.views)
        most[0] = max(most[0], sum(len(views) for views in list(alive)))
        return piece

    for module in (predictor_module, pieces):
        monkeypatch.setattr(module, "read_piece", read)
    monkeypatch.setattr(predictor_module, "num_readers", lambda: 1)
    return most


def expected(model: TimeSformer, video: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and features from all views at once."""
    views, _ = read_pixel_views(open_reader(video), CONFIG, CLIP)
    found = Predictor(model).encode(views)
    return fuse(found.logits, CLIP.fusion), found.token.mean(dim=0)


def test_pieces_are_the_views_of_the_video_in_order(video: Path):
    views, info = read_pixel_views(open_reader(video), CONFIG, CLIP)
    found = [read_piece(open_reader(video), CONFIG, CLIP, name="a", number=number) for number in range(4)]
    assert [len(piece.views) for piece in found] == [PER_PIECE] * 3 + [NUM_VIEWS - 3 * PER_PIECE]
    assert {(piece.info, piece.count) for piece in found} == {(info, 4)}
    assert torch.equal(torch.cat([piece.views for piece in found]), views)


OTHERS = {
    "dense": replace(CLIP, sampling="dense", num_clips=90),
    "center": replace(CLIP, sampling="center"),
    "segment": ClipConfig(sampling="segment", num_crops=3),
    "uniform": ClipConfig(sampling="uniform", num_crops=3),
}


@pytest.mark.parametrize("sampling", OTHERS)
def test_other_samplings_have_one_piece(video: Path, sampling: str):
    clip = OTHERS[sampling]
    piece = read_piece(open_reader(video), CONFIG, clip, name="a")
    assert piece.count == 1
    assert torch.equal(piece.views, read_pixel_views(open_reader(video), CONFIG, clip)[0])


def test_a_piece_that_is_gone_is_an_error_that_names_the_video(video: Path):
    with pytest.raises(DecodeError, match=r"^a b\.mp4: has become shorter while it was read$"):
        read_piece(open_reader(video), CONFIG, CLIP, name="a b.mp4", number=4)


def test_predictions_of_pieces_are_those_of_all_views(model: TimeSformer, video: Path, most_alive: list[int]):
    want, _ = expected(model, video)
    for found in Predictor(model)([video, video], top_k=7):
        assert found.num_views == NUM_VIEWS
        assert found.probabilities == pytest.approx(want[list(found.indices)].tolist(), abs=1e-6)
    # the first pieces of this video and of the next, one that is computed, one that waits, and one that is read
    assert most_alive[0] <= 5 * PER_PIECE < 2 * NUM_VIEWS


def test_frames_in_memory_are_read_in_pieces_too(model: TimeSformer, video: Path):
    frames = open_reader(video)
    with frames:
        pixels = frames.read(range(NUM_FRAMES))
    found = Predictor(model)(pixels, top_k=7, fps=25.0)
    want, _ = expected(model, video)
    assert found.num_views == NUM_VIEWS
    assert found.probabilities == pytest.approx(want[list(found.indices)].tolist(), abs=1e-6)
    assert read_piece(FrameArrayReader(np.asarray(pixels), fps=25.0), CONFIG, CLIP, name="a").count == 4


@pytest.mark.parametrize("level", ["cls", "frame", "patch"])
def test_embeddings_of_pieces_are_those_of_all_views(
    model: TimeSformer, video: Path, most_alive: list[int], level: str
):
    found = embed(model, video, level=level)
    _, token = expected(model, video)
    np.testing.assert_allclose(found.token, token, atol=1e-5)
    center = read_piece(open_reader(video), CONFIG, CLIP, name="a").views[1:2]  # of the first clip
    want = token if level == "cls" else Predictor(model).encode(center, level=level).features[0]
    np.testing.assert_allclose(found.features, want, atol=1e-5)
    assert most_alive[0] <= 4 * PER_PIECE


@pytest.mark.parametrize("num_workers", [0, 2])
def test_evaluation_of_pieces_is_that_of_all_views(
    model: TimeSformer, video: Path, most_alive: list[int], num_workers: int
):
    manifest = Manifest((Sample(video, 3), Sample(video, 0)), tuple("abcdefg"))
    found = evaluate(model, manifest, num_workers=num_workers)
    want, _ = expected(model, video)
    for each in found.predictions:
        assert each.num_views == NUM_VIEWS
        assert each.probability == pytest.approx(float(want.max()), abs=1e-6)
    assert most_alive[0] <= 4 * PER_PIECE  # of both videos together


def test_a_video_that_breaks_off_is_an_error_in_its_place(
    model: TimeSformer, video: Path, monkeypatch: pytest.MonkeyPatch
):
    def read(*args, number: int, **keywords) -> Piece:
        if number == 2:
            raise DecodeError("long.mp4: broken off")
        return read_piece(*args, number=number, **keywords)

    monkeypatch.setattr(predictor_module, "read_piece", read)
    short = np.zeros((5, 24, 40, 3), np.uint8)
    first, second, third = Predictor(model).each([short, video, short], on_error="yield")
    assert str(second) == "long.mp4: broken off"
    assert (first.probabilities, first.num_views) == (third.probabilities, 6)


@pytest.mark.parametrize("is_readable", [True, False])
def test_decoders_of_a_job_give_pieces(video: Path, is_readable: bool):
    with decoding(CONFIG, CLIP, allow_codecs=(), num_children=1, call_s=300, has_sha256=True) as read:
        (found,) = read([Item(path=str(video if is_readable else video.parent))])
        if not is_readable:
            assert isinstance(found, Failure)
            return
        later = list(found.rest)
    views, _ = read_pixel_views(open_reader(video), CONFIG, CLIP)
    assert len(found.sha256) == 64
    assert [len(each) for each in later] == [PER_PIECE, PER_PIECE, NUM_VIEWS - 3 * PER_PIECE]
    assert torch.equal(torch.cat([found.views, *later]), views)


def test_options_of_the_computation_apply_to_pieces(model: TimeSformer, video: Path):
    small = Predictor(model, options=ComputeOptions(batch_size=5))(video, top_k=7)
    large = Predictor(model, batch_size=500)(video, top_k=7)
    assert small.indices == large.indices
    assert small.probabilities == pytest.approx(large.probabilities, abs=1e-6)
