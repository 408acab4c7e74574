"""`/v1/timeline`: what happens when in a video, whose windows are read in a decoding process."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Literal

import torch

from timesformer.data.video.feed import Clock
from timesformer.errors import ConfigError, DataError, TimeSformerError
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.predictor import Predictor
from timesformer.isolation.child import Child
from timesformer.serve.blocking import Stop
from timesformer.serve.decoder import VideoFacts
from timesformer.serve.decoding import Decoders
from timesformer.serve.problems import ProblemError
from timesformer.timelines.formats.subtitles import to_srt, to_vtt
from timesformer.timelines.formats.table import to_csv
from timesformer.timelines.picture import to_svg
from timesformer.timelines.reading import Read, ReadWindow
from timesformer.timelines.run import Task, run_windows, task_of
from timesformer.timelines.timeline import Timeline
from timesformer.timelines.windows import Windows

Form = Literal["json", "svg", "vtt", "srt", "csv"]
MEDIA_TYPES = {"svg": "image/svg+xml", "vtt": "text/vtt", "srt": "application/x-subrip", "csv": "text/csv"}


class RemoteVideo:
    """Windows of a video that a decoding process reads: a `WindowSource`, and `Described`.

    Args:
        child: The process.
        path: The video.
        name: Its name in the timeline.
        windows: Length and stride.
    """

    def __init__(self, child: Child, path: Path, *, name: str, windows: Windows) -> None:
        self._values = child.stream("windows", str(path), windows)
        self._name = name
        self._clock: Clock | None = None
        self._size, self._sha256 = (0, 0), ""
        self.read = Read()

    @property
    def path(self) -> str:
        """Name that the client gave."""
        return self._name

    def clock(self) -> Clock:
        """See `Described`; known once a window was read."""
        assert self._clock is not None
        return self._clock

    def size(self) -> tuple[int, int]:
        """See `Described`; known after the last window."""
        return self._size

    def sha256(self) -> str:
        """See `Described`; known after the last window."""
        return self._sha256

    def each(self) -> Generator[ReadWindow]:
        """The windows."""
        self._clock = next(iter(self._values))
        for value in self._values:
            if isinstance(value, VideoFacts):
                self.read, self._size, self._sha256 = value
            else:
                piece, window, views = value
                yield ReadWindow(piece, window, {number: torch.from_numpy(view) for number, view in views.items()})


def timeline_request(
    model: Classifier, predictor: Predictor, *, window: float | None, stride: float | None, sha256: str
) -> Task:
    """The windows of a request.

    Raises:
        ProblemError: Status 422: a value is out of range, or the window must be given.
    """
    try:
        return task_of(model, predictor, window=window, stride=stride, sha256=sha256)
    except ConfigError as error:
        text = str(error).replace(" (--window)", "")
        raise ProblemError(422, text, fix="set `window` and `stride` in seconds, stride at most window") from error


def timeline_of(
    task: Task,
    path: Path,
    *,
    name: str,
    decoders: Decoders,
    step_s: float,
    max_s: float,
    stop: Stop,
    on_progress: Callable[[float], object] = lambda share: None,
) -> Timeline:
    """The timeline of a video; blocks.

    Args:
        task: The model and its windows.
        path: The video.
        name: Its name in the timeline.
        decoders: Start the process that reads it.
        step_s: Longest time in seconds until the next window is read.
        max_s: Processor time in seconds for all of the reading.
        stop: May stop the work.
        on_progress: Called with the share that is done, from 0 to 1.

    Raises:
        RefusedError: The video cannot be decoded, or its decoder died.
        ProblemError: Status 422: the video is shorter than a window, or the model outputs nan or inf.
    """

    def report(done_s: float, length_s: float | None) -> None:
        stop.check()
        if length_s:
            on_progress(min(0.99, done_s / length_s))

    with decoders.own_child(call_s=step_s, cpu_s=max_s) as child, stop.stopping(child):
        video = RemoteVideo(child, path, name=name, windows=task.windows)
        try:
            return run_windows(task, video, video, on_progress=report)
        except DataError as error:
            raise ProblemError(422, _nameless(error, name), fix="set a shorter `window`, in seconds") from error
        except TimeSformerError as error:
            if type(error) is TimeSformerError:  # of the model
                raise ProblemError(422, str(error), fix="send another video") from error
            raise


def text_of(timeline: Timeline, to: Form) -> str:
    """A timeline in one of the other formats."""
    writers: dict[str, Callable[[], str]] = {
        "svg": lambda: to_svg(timeline, curves=timeline.curves),
        "vtt": lambda: to_vtt(timeline.segments),
        "srt": lambda: to_srt(timeline.segments),
        "csv": lambda: to_csv(timeline, folder=Path.cwd()),  # so that a path is written as it was given
    }
    return writers[to]()


def result_of(timeline: Timeline, to: Form) -> Any:
    """A timeline as the result of a job: an object for `json`, text otherwise."""
    return timeline.to_dict() if to == "json" else text_of(timeline, to)


def _nameless(error: Exception, name: str) -> str:
    return str(error).removeprefix(f"{name}: ").replace(" (--window)", "")
