"""`timesformer timeline` of a camera or a network stream: each segment is printed as soon as it is decided."""

import math
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from timesformer.cli.console import note, print_json
from timesformer.cli.options import DATA
from timesformer.cli.timeline_text import gap_text, segment_text
from timesformer.config.compute import ComputeOptions
from timesformer.data.video.live import TIMEOUT_S, open_live
from timesformer.data.video.live_feed import LiveFeed
from timesformer.errors import ConfigError
from timesformer.inference.onnx_model import Classifier
from timesformer.timelines.live import LiveTimeline, live_timeline
from timesformer.timelines.timeline import Gap, LabeledSegment, Timeline

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@Parameter(name="*", group=DATA)
@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How long to wait for a stream, and for how long to watch it."""

    timeout: Annotated[float | None, Parameter(metavar="SECONDS")] = None
    """Time without a frame after which a stream counts as cut, and is opened again (default: 5)."""
    max_gap: Annotated[float | None, Parameter(metavar="SECONDS")] = None
    """End once a stream was cut for longer; 0 ends at the first cut (default: never)."""
    duration: Annotated[float | None, Parameter(metavar="SECONDS")] = None
    """End after this time (default: at Ctrl-C)."""

    def refuse(self, video: str) -> None:
        """Refuse values for a video that is not a stream.

        Raises:
            ConfigError: One is given.
        """
        for name, value in asdict(self).items():
            if value is not None:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{flag} has no effect on {video or 'curves'}: it is for cameras and addresses")

    def open(self, source: str, options: ComputeOptions) -> LiveFeed:
        """The feed of a camera or an address.

        Raises:
            ConfigError: The address cannot be one of a stream, or a value is out of range.
        """
        timeout, max_gap, duration = (
            default if value is None else value
            for value, default in ((self.timeout, TIMEOUT_S), (self.max_gap, math.inf), (self.duration, math.inf))
        )
        return open_live(source, timeout=timeout, max_gap=max_gap, duration=duration,
                         allow_codecs=options.allow_codecs, on_note=note)  # fmt: skip


def watch(
    model: Classifier | str,
    feed: LiveFeed,
    *,
    settings: Mapping[str, Any],
    options: ComputeOptions,
    keywords: Mapping[str, Any],
    keep_curves: bool,
    as_json: bool,
) -> Timeline:
    """Print the segments of a stream until it ends; the first Ctrl-C ends it, and what was seen is still decided.

    Args:
        model: As in `timesformer.timelines.live.live_timeline`.
        feed: The stream.
        settings: Window, stride, mode and thresholds.
        options: How to compute.
        keywords: Changes of the model.
        keep_curves: Whether curves are to be written.
        as_json: Print a line of JSON for each segment and gap, and one at the end.
    """
    with _ending(feed.stop):
        found = live_timeline(
            model, feed, options=options, on_segment=_segment_json if as_json else _show_segment,
            on_gap=_gap_json if as_json else _show_gap, keep_curves=keep_curves, **settings, **keywords,
        )  # fmt: skip
    _tell_end(found, as_json=as_json)
    return found.timeline


@contextmanager
def _ending(stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` at the first Ctrl-C or SIGTERM; the second one has its usual effect."""
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def end(number: int, frame: object) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        note("ending; press Ctrl-C again to stop at once")
        stop()

    for each in _SIGNALS:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _show_segment(segment: LabeledSegment) -> None:
    print(segment_text(segment, width=0), flush=True)


def _show_gap(gap: Gap) -> None:
    note(gap_text(gap))


def _segment_json(segment: LabeledSegment) -> None:
    print_json({"event": "segment", **asdict(segment)})


def _gap_json(gap: Gap) -> None:
    print_json({"event": "gap", **asdict(gap)})


def _tell_end(found: LiveTimeline, *, as_json: bool) -> None:
    source = found.timeline.source
    if found.num_skipped:
        note(
            f"{found.num_skipped} of {found.num_windows} windows skipped: the model is slower than the stream; "
            "a larger --stride makes fewer"
        )
    if as_json:
        print_json({"event": "end", "duration": source.duration, "num_frames": source.num_frames,
                    "num_windows": found.num_windows, "num_skipped": found.num_skipped})  # fmt: skip
    elif not found.timeline.segments:
        note("no segments")
