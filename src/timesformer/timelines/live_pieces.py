"""Scores, gaps and decisions of a live stream, window by window.

Windows may be missing. Instants next to a missing window are scored by the windows on their own side, and the curve is
a straight line between them. Time that no window shows is a gap.
"""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float32, Float64

from timesformer.config.thresholds import Thresholds
from timesformer.data.video.feed import FrameGap
from timesformer.timelines.decision import labeled
from timesformer.timelines.frame_rates import cuts
from timesformer.timelines.incremental import Decided, Decider, decider_of
from timesformer.timelines.reading import Read, ReadWindow
from timesformer.timelines.scores import Scores
from timesformer.timelines.timeline import Curves, LabeledSegment
from timesformer.timelines.windows import Windows

TOO_SLOW = "not computed: the model is slower than the stream"
"""Reason of a gap that no window shows."""
_EPSILON_S = 1e-6


class LivePieces:
    """Segments and gaps of a stream.

    Args:
        read: What is known of the stream, while it is read.
        windows: Length and stride.
        mode: See `timesformer.timelines.decision.Mode`.
        classes: Class names.
        thresholds: When a class begins and ends.
        keep_curves: Whether to keep all probabilities; otherwise only those that are needed for decisions.
        on_segment: Called with each segment as soon as it is decided.
        on_gap: Called with each gap once it is over.
    """

    def __init__(
        self,
        read: Read,
        *,
        windows: Windows,
        mode: str,
        classes: tuple[str, ...],
        thresholds: Thresholds,
        keep_curves: bool,
        on_segment: Callable[[LabeledSegment], None],
        on_gap: Callable[[FrameGap], None],
    ) -> None:
        self._read = read
        self._windows = windows
        self._mode, self._classes, self._thresholds = mode, classes, thresholds
        self._keep_curves = keep_curves
        self._on_segment, self._on_gap = on_segment, on_gap
        self._piece = -1
        self._decider: Decider | None = None
        self._scores = Scores(windows)
        self._pending: deque[float] = deque()
        """Centers of windows whose instants are not scored yet."""
        self._seen = 0.0
        """End of the last window."""
        self._last: float | None = None
        """Its center, if it lies in this piece."""
        self._num_gaps = 0
        self._times: list[float] = []
        self._rows: list[Float32[np.ndarray, " k"]] = []
        self.segments: list[LabeledSegment] = []
        """Segments so far."""
        self.gaps: list[FrameGap] = []
        """Gaps so far."""

    def add(self, window: ReadWindow, log_probabilities: Float64[np.ndarray, " k"]) -> None:
        """Take a window, later than those before."""
        while self._piece < window.piece:
            self._end_piece()
            self._piece += 1
            self._begin(self._bounds(self._piece)[0])
        center, half = window.window.center, self._windows.length / 2
        if self._last is None or center - self._last > 1.5 * self._windows.stride:
            self._leave_out(self._seen, center - half)
        self._last, self._seen = center, center + half
        self._pending.append(center)
        self._score(self._scores.add(log_probabilities))

    def finish(self) -> None:
        """Decide the rest, after all is read."""
        num_pieces = 1 + sum(cuts(gap) for gap in self._read.gaps)
        while True:
            self._end_piece()
            if self._piece >= num_pieces - 1:
                break
            self._piece += 1
            self._begin(self._bounds(self._piece)[0])
        self._tell_gaps(self._read.end + 1)
        self.segments.sort(key=lambda segment: (segment.start, segment.index))

    def curves(self) -> Curves | None:
        """All probabilities, if they are kept."""
        if not self._keep_curves:
            return None
        return Curves(times=np.array(self._times), probabilities=np.stack(self._rows),
                      frame_times=self._read.frame_times())  # fmt: skip

    def _bounds(self, piece: int) -> tuple[float, float]:
        """Start and end of a piece between gaps; the end of the last one is that of what is read."""
        gaps = [gap for gap in self._read.gaps if cuts(gap)]
        start = gaps[piece - 1].end if piece else 0.0
        return start, gaps[piece].start if piece < len(gaps) else self._read.end

    def _begin(self, start: float) -> None:
        self._decider = decider_of(self._mode, start=start, classes=self._classes, thresholds=self._thresholds)
        self._scores = Scores(self._windows)
        self._seen, self._last = start, None

    def _end_piece(self) -> None:
        """End the current piece, if there is one; what no window shows at its end is a gap."""
        if self._piece < 0:
            return
        end = self._bounds(self._piece)[1]
        if self._last is None or end - self._last > self._windows.stride + _EPSILON_S:
            self._leave_out(self._seen, end)
        self._close(end)
        self._tell_gaps(end)

    def _leave_out(self, start: float, end: float) -> None:
        """Go on after missing windows; the time from `start` to `end` is a gap, if there is any."""
        self._score(self._scores.finish())
        self._scores = Scores(self._windows)
        if end - start <= _EPSILON_S:
            return
        gap = FrameGap(start, end, TOO_SLOW)
        if cuts(gap):
            self._close(start)
            self._begin(end)
        self._tell_gaps(start)
        self._tell(gap)

    def _close(self, end: float) -> None:
        self._score(self._scores.finish())
        if self._decider is not None:
            self._decide(self._decider.finish(end))
            self._decider = None

    def _score(self, rows: Iterable[Float32[np.ndarray, " k"]]) -> None:
        for row in rows:
            time = self._pending.popleft()
            if self._keep_curves:
                self._times.append(time)
                self._rows.append(row)
            assert self._decider is not None  # a piece goes on
            self._decide(self._decider.add(time, row.astype(np.float64)))

    def _decide(self, decided: Iterable[Decided]) -> None:
        for run, times, values in decided:
            label = self._classes[run.index]
            self.segments.append(labeled(run, times, values, label=label, frame_times=self._read.times))
            self._on_segment(self.segments[-1])

    def _tell_gaps(self, before: float) -> None:
        """Tell the gaps of the stream up to a time."""
        gaps = self._read.gaps
        while self._num_gaps < len(gaps) and gaps[self._num_gaps].start <= before:
            self._num_gaps += 1
            self._tell(gaps[self._num_gaps - 1])

    def _tell(self, gap: FrameGap) -> None:
        self.gaps.append(gap)
        self._on_gap(gap)
