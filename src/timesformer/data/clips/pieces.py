"""Views of a video in pieces of bounded size, so that an hour of it with `coverage` needs no more memory than a minute.

Each piece is read by itself, with a reader of its own: the pieces of one video can be read at the same time.
"""

from collections.abc import Collection
from typing import NamedTuple

from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips import sampling
from timesformer.data.clips.dataset import FRAMES_PER_READ, check_channels, no_warnings, views_of, warn_of_timing
from timesformer.data.manifest.manifest import Manifest
from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.reader import Reader, open_reader
from timesformer.errors import DecodeError


class Piece(NamedTuple):
    """Some views of a video."""

    views: UInt8[Tensor, "views 3 t s1 s2"]
    info: VideoInfo
    count: int
    """Number of pieces of the video, at least 1."""


def read_piece(reader: Reader, model: ModelConfig, clip: ClipConfig, *, name: str, number: int = 0) -> Piece:
    """Read one piece of the views of a video.

    With `coverage`, a piece has the views of clips that have 128 frames together, or of one clip. Other samplings have
    a fixed number of views, and one piece.

    Args:
        reader: The video; opened and closed here.
        model: Frame count and image size of the views.
        clip: Sampling and crops.
        name: The video, for messages.
        number: The piece, counted from 0.

    Raises:
        DecodeError: The video cannot be decoded, or has no such piece any more.
    """
    with reader:
        clips = sampling.eval_clips(reader.info, clip, num_frames=model.num_frames)
        size = max(1, FRAMES_PER_READ // len(clips[0])) if clip.sampling == "coverage" else len(clips)
        chosen = clips[number * size : (number + 1) * size]
        if not chosen:
            raise DecodeError(f"{name}: has become shorter while it was read")
        return Piece(views_of(reader, chosen, model, clip), reader.info, -(-len(clips) // size))


class FirstPieces(Dataset[Piece]):
    """The first piece of each video of a manifest, and any other piece with `read`.

    Args:
        manifest: The videos.
        model: Frame count and image size of the views.
        clip: Sampling of the views, and the order of their channels.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Raises:
        ConfigError: The model does not read 3 channels, or a codec is unknown.
    """

    def __init__(
        self, manifest: Manifest, *, model: ModelConfig, clip: ClipConfig, allow_codecs: Collection[str] = ()
    ) -> None:
        check_channels(model)
        allowed_codecs(allow_codecs)
        self._manifest = manifest
        self._model = model
        self._clip = clip
        self._allow_codecs = tuple(allow_codecs)
        self._warned = no_warnings(manifest)

    def __len__(self) -> int:
        return len(self._manifest.samples)

    def __getitem__(self, index: int) -> Piece:
        piece = self.read(index, number=0)
        warn_of_timing(self._manifest.samples[index].name, piece.info, self._clip, warned=self._warned[index])
        return piece

    def read(self, index: int, *, number: int) -> Piece:
        """A piece of a video, both counted from 0."""
        sample = self._manifest.samples[index]
        reader = open_reader(sample.path, segment=sample.segment, allow_codecs=self._allow_codecs)
        return read_piece(reader, self._model, self._clip, name=sample.name, number=number)


class LaterPieces(Dataset[Tensor]):
    """The views of all pieces of one video but the first: uint8 `[views, 3, T, H, W]`.

    Args:
        pieces: The videos.
        video: Its number, counted from 0.
        count: Number of its pieces.
    """

    def __init__(self, pieces: FirstPieces, video: int, *, count: int) -> None:
        self._pieces = pieces
        self._video = video
        self._count = count

    def __len__(self) -> int:
        return self._count - 1

    def __getitem__(self, index: int) -> UInt8[Tensor, "views 3 t s1 s2"]:
        return self._pieces.read(self._video, number=1 + index).views
