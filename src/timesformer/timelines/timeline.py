"""`Timeline`: the labeled segments of a video, and `Curves`, the probabilities that they were decided from.

Times are seconds from the first frame of the source, and segments are half-open. Frames are numbered from 0, and
`end_frame` is not in the segment.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

FORMAT = "timesformer.timeline/1"
"""Value of the key `format` in the JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledSegment:
    """A segment with one label.

    `score` is the mean probability of the class over the segment, and `peak` the highest.
    """

    label: str
    index: int
    """Index of the class in the model."""
    start: float
    end: float
    start_frame: int
    end_frame: int
    score: float
    peak: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Time without frames, and the reason: a cut stream, or a pause in the timestamps."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The video of a timeline."""

    path: str
    """Path or address, without credentials; `-` for standard input."""
    sha256: str
    """Hash of the file; empty for a stream."""
    duration: float
    """Length in seconds."""
    num_frames: int
    fps: float
    is_variable: bool
    """Whether the intervals between frames differ."""
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Class probabilities over time.

    `probabilities[i]` holds for the instant `times[i]`, in seconds, ascending.
    """

    times: Float64[np.ndarray, " n"]
    probabilities: Float32[np.ndarray, "n k"]
    frame_times: Float64[np.ndarray, " frames"] = field(default_factory=lambda: np.empty(0))
    """Time of each frame of the video, in seconds from the first, by which segments get their frame numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The labeled segments of a video, in order of their start."""

    source: Source
    model: Mapping[str, str]
    """`sha256` of the weights and the `scheme`."""
    window: float
    """Length of a window in seconds."""
    stride: float
    """Distance between windows in seconds."""
    settings: Mapping[str, Any]
    """`mode` and the thresholds of the decision; in exclusive mode `onset` and `offset` do not count."""
    classes: tuple[str, ...]
    """All class names of the model, in index order."""
    segments: tuple[LabeledSegment, ...]
    gaps: tuple[Gap, ...] = field(default=())
    curves: Curves | None = field(default=None, compare=False, repr=False)
    """Probabilities that the segments were decided from; not part of the JSON form."""

    def to_dict(self) -> dict[str, Any]:
        """The timeline as plain values for JSON, with `format` first."""
        fields = asdict(replace(self, curves=None))
        del fields["curves"]
        lists = {name: list(fields[name]) for name in ("classes", "segments", "gaps")}
        return {"format": FORMAT, **fields, "model": dict(self.model), "settings": dict(self.settings), **lists}
