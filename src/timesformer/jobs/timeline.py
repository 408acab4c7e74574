"""Rows of `timeline --job`: the segments of each video."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from timesformer.config.compute import ComputeOptions
from timesformer.config.thresholds import Thresholds
from timesformer.errors import DataError, DecodeError
from timesformer.inference.options import precision_of
from timesformer.isolation.progress import report_progress
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.job_model import model_settings, model_source, refuse_other_model
from timesformer.jobs.parquet import arrow
from timesformer.jobs.task import Compute
from timesformer.timelines.decision import settings_of
from timesformer.timelines.run import Task as PreparedTimeline
from timesformer.timelines.run import prepare, run_task
from timesformer.timelines.thresholds import Threshold
from timesformer.timelines.timeline import LabeledSegment, Timeline

if TYPE_CHECKING:
    import pyarrow as pa

_SEGMENT = ("label", "start", "end", "start_frame", "end_frame", "score", "peak")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineTask:
    """Timelines of whole videos, one after the other; curves are not kept."""

    model: str
    """Anything that `timesformer.inference.onnx_model.open_model` accepts."""
    model_sha256: str
    """Hash of its weights."""
    overrides: Mapping[str, Any]
    """Fields of `ModelConfig` to change."""
    options: ComputeOptions
    """How to compute, with a precision that is not `auto`: all workers compute in the same one."""
    window: float
    """Length of a window in seconds."""
    stride: float
    """Distance of windows in seconds."""
    mode: str
    """`exclusive` or `overlapping`."""
    thresholds: Thresholds
    """When a class begins and ends."""
    settings: Mapping[str, Any]

    @property
    def verb(self) -> str:
        """The verb."""
        return "timeline"

    @property
    def schema(self) -> "pa.Schema":
        """Columns of a timeline: its segments and gaps as lists, and what is known of the video."""
        pa = arrow()

        seconds, count, text = pa.float64(), pa.int64(), pa.string()
        types = {"label": text, "start_frame": count, "end_frame": count}
        return pa.schema(
            [
                ("segments", pa.list_(pa.struct([(name, types.get(name, seconds)) for name in _SEGMENT]))),
                ("gaps", pa.list_(pa.struct([("start", seconds), ("end", seconds), ("reason", text)]))),
                *((name, seconds) for name in ("duration", "fps")),
                *((name, count) for name in ("num_frames", "height", "width")),
                ("sha256", text),
                *((name, seconds) for name in ("window", "stride")),
            ]
        )

    @property
    def chunk_size(self) -> int:
        """One: a long video takes as long as many short ones."""
        return 1

    @contextmanager
    def open(self) -> Generator[Compute]:
        """The model, prepared once."""
        prepared = prepare(
            self.model,
            window=self.window,
            stride=self.stride,
            mode=self.mode,
            thresholds=self.thresholds,
            options=self.options,
            keywords=self.overrides,
        )
        refuse_other_model(self.model, sha256=prepared.sha256, expected=self.model_sha256)
        yield lambda items: (_result(prepared, item) for item in items)


def timeline_task(
    model: str,
    *,
    window: float | None,
    stride: float | None,
    mode: str,
    given: Mapping[str, Threshold],
    options: ComputeOptions,
    overrides: Mapping[str, Any],
) -> TimelineTask:
    """The task with the windows and thresholds of its model, which is loaded here once to know them.

    Raises:
        ConfigError: A value is out of range, has no effect on the mode, or belongs to an unknown class.
        WeightsError: The weights cannot be loaded.
    """
    prepared = prepare(
        model, window=window, stride=stride, mode=mode, given=given, options=options, keywords=overrides
    )  # fmt: skip
    length, distance = prepared.windows
    options = replace(options, precision=precision_of(options, prepared.model))
    decision = settings_of(mode, prepared.thresholds)
    return TimelineTask(
        model=model_source(model),
        model_sha256=prepared.sha256,
        overrides=overrides,
        options=options,
        window=length,
        stride=distance,
        mode=mode,
        thresholds=prepared.thresholds,
        settings={"window": length, "stride": distance} | decision | model_settings(prepared.model, options),
    )


def _result(prepared: PreparedTimeline, item: Item) -> Row | Failure:
    try:
        return _row(run_task(prepared, item.path, on_progress=lambda done, length: report_progress()))
    except (DecodeError, DataError) as error:
        return Failure(reason=str(error))


def _row(found: Timeline) -> Row:
    source = found.source
    return {
        "segments": [_segment(segment) for segment in found.segments],
        "gaps": [asdict(gap) for gap in found.gaps],
        "duration": source.duration,
        "fps": source.fps,
        "num_frames": source.num_frames,
        "height": source.height,
        "width": source.width,
        "sha256": source.sha256,
        "window": found.window,
        "stride": found.stride,
    }


def _segment(segment: LabeledSegment) -> dict[str, Any]:
    return {name: getattr(segment, name) for name in _SEGMENT}
