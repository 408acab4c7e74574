"""Decoding ahead in child processes, so that a decoder that dies, hangs or needs too much memory costs one video."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from queue import SimpleQueue

import numpy as np
import torch
from jaxtyping import UInt8

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.dataset import read_pixel_views
from timesformer.data.clips.transforms import to_floats
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment
from timesformer.errors import ProcessError, TimeSformerError
from timesformer.inference.predictor import ReadVideo
from timesformer.inference.read_ahead import read_ahead
from timesformer.isolation.child import Child
from timesformer.isolation.limits import Limits
from timesformer.isolation.processes import starter_of
from timesformer.isolation.progress import report_progress
from timesformer.jobs.item import Failure, Item

ATTEMPTS = 2
"""Attempts at a video whose decoder dies."""
MEMORY = 8 * 2**30
"""Bytes that a decoder may allocate: a minute of 8K frames in a clip fits, a bomb does not."""
_TARGET = "timesformer.jobs.decode:open_decoder"

Views = tuple[UInt8[np.ndarray, "views 3 t s1 s2"], VideoInfo]
ReadItems = Callable[[Iterable[Item]], Iterator[ReadVideo | Failure]]


def open_decoder(
    model: ModelConfig, clip: ClipConfig, allow_codecs: Collection[str]
) -> Callable[[str, Segment | None], Views]:
    """The function of a decoding process: views of a video, 0 to 255."""
    torch.set_num_threads(1)

    def decode(path: str, segment: Segment | None) -> Views:
        views, info = read_pixel_views(open_reader(path, segment=segment, allow_codecs=allow_codecs), model, clip)
        return views.numpy(), info

    return decode


@contextmanager
def decoding(
    model: ModelConfig, clip: ClipConfig, *, allow_codecs: Collection[str], num_children: int, call_s: float
) -> Generator[ReadItems]:
    """Processes that decode videos ahead of their use.

    Args:
        model: Frame count and image size of the views.
        clip: Sampling, crops and normalization.
        allow_codecs: Codecs to decode besides the default ones.
        num_children: Number of processes.
        call_s: Longest time in seconds that a decoder may take for a video.

    Yields:
        A function that reads videos in order, each as a `ReadVideo` or the reason why it cannot be read.
    """
    limits = Limits(call_s=call_s, memory=MEMORY)
    with ExitStack() as stack:
        starter = stack.enter_context(starter_of(_TARGET))
        free: SimpleQueue[Child] = SimpleQueue()
        for _ in range(num_children):
            free.put(stack.enter_context(Child(starter, setup=(model, clip, tuple(allow_codecs)), limits=limits)))
        read = partial(_read, free=free, clip=clip)
        yield partial(
            read_ahead, read, num_threads=num_children, num_ahead=2 * num_children, on_wait=report_progress
        )  # the decoders have limits of their own


def _read(item: Item, *, free: "SimpleQueue[Child]", clip: ClipConfig) -> ReadVideo | Failure:
    child = free.get()
    try:
        views, info = _decode(child, item)
    except ProcessError as error:
        reason = f"{item.path}: the decoder {error}"
        return Failure(reason=reason, signal=error.signal, stderr=error.stderr, attempts=ATTEMPTS)
    except TimeSformerError as error:
        return Failure(reason=str(error))
    finally:
        free.put(child)
    return ReadVideo(item.path, to_floats(torch.from_numpy(views), clip), info)


def _decode(child: Child, item: Item) -> Views:
    segment = None if item.start is None or item.end is None else Segment(item.start, item.end)
    for _ in range(ATTEMPTS - 1):
        try:
            return child.call(item.path, segment)
        except ProcessError:
            child.start()  # or raise the error of a process that cannot be started
    return child.call(item.path, segment)
