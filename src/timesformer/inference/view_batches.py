"""Views of many videos, computed in full batches: a batch may begin in one video and end in the next."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.data.video.file_reader import VideoInfo

Views = Float[Tensor, "views 3 t s1 s2"] | UInt8[Tensor, "views 3 t s1 s2"]


class ReadVideo(NamedTuple):
    """A video that was read, ready for the model."""

    path: str
    """Path of the video; empty for frames in memory."""
    views: Views
    """Its views, or the first ones of a long video: normalized, or 8-bit, of all videos alike."""
    info: VideoInfo
    sha256: str = ""
    """SHA-256 of the file, if its reader has computed it."""
    rest: Iterable[object] = ()
    """The other views of a long video, read as they are asked for; anything but a tensor, such as an error, ends them
    and takes the place of the video."""


Other = TypeVar("Other")
Tensors = tuple[Tensor, ...]
Keep = Callable[[Tensors, range], Tensors]


@dataclass(slots=True, eq=False)
class Computed:
    """A video with what was computed for its views."""

    video: ReadVideo
    tensors: list[Tensors] = field(default_factory=list)
    num_views: int = 0
    """Views that were read so far."""
    num_left: int = 0
    """Those of them that wait for a batch."""
    is_read: bool = False
    instead: object = None
    """What takes the place of the video."""

    def add(self, tensors: Tensors) -> None:
        """Add the tensors for the next views.

        Parts are joined as they grow: hundreds of small ones, each allocated between batches, would keep the memory of
        the batches before them from being used for other sizes.
        """
        self.tensors.append(tensors)
        while len(self.tensors) > 1 and len(self.tensors[-1][-1]) >= len(self.tensors[-2][-1]):
            last = self.tensors.pop()
            self.tensors[-1] = _joined([self.tensors[-1], last])

    def joined(self) -> Tensors:
        """The tensors for all views."""
        return _joined(self.tensors)


def _joined(parts: Sequence[Tensors]) -> Tensors:
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))


def compute_views(
    videos: "Iterable[ReadVideo | Other]",
    compute: Callable[[Tensor], Tensors],
    *,
    batch_size: int,
    keep: Keep = lambda tensors, views: tensors,
) -> "Iterator[Computed | Other]":
    """Compute the views of videos in batches of `batch_size`, of which the last alone may be smaller.

    Of a long video, no more views than a batch and a piece of the video are in memory here at a time.

    Args:
        videos: Videos; anything else, such as an error, is passed on in its place.
        compute: Called with the views of a batch; gives tensors whose first dimension is that of the views.
        batch_size: Views per batch.
        keep: Called with the tensors of successive views of a video, and the numbers of these views; gives what of the
            tensors is kept.

    Yields:
        Each video, once all its views are computed, or what takes its place, in the order of the videos.
    """
    batches = _Batches(compute, batch_size=batch_size, keep=keep)
    for video in videos:
        yield from batches.add(video)
    yield from batches.finish()


class _Batches:
    """Views that wait for a batch, and videos that wait for their views."""

    def __init__(self, compute: Callable[[Tensor], Tensors], *, batch_size: int, keep: Keep) -> None:
        self._compute, self._batch_size, self._keep = compute, batch_size, keep
        self._videos: deque[object] = deque()
        self._waiting: deque[tuple[Computed, Tensor]] = deque()

    def add(self, video: object) -> Iterator:
        """Add a video or another value; gives what is finished."""
        if not isinstance(video, ReadVideo):
            self._videos.append(video)
            yield from self._finished()
            return
        computed = Computed(video._replace(views=video.views.new_empty(0), rest=()))  # which keeps no views
        self._videos.append(computed)
        self._add_views(computed, video.views)
        yield from self._finished()
        for views in video.rest:
            if not isinstance(views, Tensor):
                self._drop(computed, views)
                break
            self._add_views(computed, views)
            yield from self._finished()
        computed.is_read = True
        yield from self._finished()

    def finish(self) -> Iterator:
        """Compute what is left."""
        self._compute_while(lambda waiting: waiting > 0)
        yield from self._finished()

    def _add_views(self, computed: Computed, views: Tensor) -> None:
        computed.num_views += len(views)
        computed.num_left += len(views)
        self._waiting.append((computed, views))
        self._compute_while(lambda waiting: waiting >= self._batch_size)

    def _drop(self, computed: Computed, instead: object) -> None:
        computed.instead, computed.num_left, computed.tensors = instead, 0, []
        self._waiting = deque(each for each in self._waiting if each[0] is not computed)

    def _compute_while(self, goes_on: Callable[[int], bool]) -> None:
        while goes_on(sum(len(views) for _, views in self._waiting)):
            batch = list(self._take())
            tensors = self._compute(torch.cat([views for _, views in batch]))
            parts = zip(*(tensor.split([len(views) for _, views in batch]) for tensor in tensors), strict=True)
            for (computed, views), part in zip(batch, parts, strict=True):
                first = computed.num_views - computed.num_left
                computed.add(self._keep(part, range(first, first + len(views))))
                computed.num_left -= len(views)

    def _take(self) -> Iterator[tuple[Computed, Tensor]]:
        """The views of a batch, or of all videos if they are fewer."""
        room = self._batch_size
        while room and self._waiting:
            computed, views = self._waiting.popleft()
            if len(views) > room:
                self._waiting.appendleft((computed, views[room:]))
            yield computed, views[:room]
            room -= min(room, len(views))

    def _finished(self) -> Iterator:
        while self._videos:
            first = self._videos[0]
            if isinstance(first, Computed):
                if first.num_left or not first.is_read:
                    return
                first = first if first.instead is None else first.instead
            self._videos.popleft()
            yield first
