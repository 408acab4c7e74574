"""The score of an instant: the weighted mean, in log space, of all windows that cover it.

A window counts fully at its center and less toward its edges, down to nothing: the weights form a triangle. Instants
are the centers of the windows, so the curves have a value every `stride` seconds. Between two instants the mean is
linear in log space if the stride divides half of the window, as a quarter does: nothing is lost between them.

Only the windows that still count are kept. The curves themselves grow by one row of float32 an instant: an hour of 27
classes at a stride of half a second is 0.8 MB.
"""

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Float64

from timesformer.timelines.windows import Windows


class Scores:
    """Class probabilities at the centers of windows that come one after another."""

    def __init__(self, windows: Windows) -> None:
        length, stride = windows
        reach = math.ceil(length / 2 / stride - 1e-9) - 1
        self._weights = [1 - abs(step) * stride / (length / 2) for step in range(-reach, reach + 1)]
        self._reach = reach
        self._recent: deque[Float64[np.ndarray, " k"]] = deque()
        self._first = 0
        """Position of the oldest recent window."""
        self._next = 0
        """Position of the next instant."""

    def add(self, log_probabilities: Float64[np.ndarray, " k"]) -> Iterator[Float32[np.ndarray, " k"]]:
        """Take the next window; gives the probabilities at each instant that no later window covers."""
        self._recent.append(log_probabilities)
        while self._next + self._reach < self._first + len(self._recent):
            yield self._score()

    def finish(self) -> Iterator[Float32[np.ndarray, " k"]]:
        """The probabilities at the remaining instants."""
        while self._next < self._first + len(self._recent):
            yield self._score()

    def _score(self) -> Float32[np.ndarray, " k"]:
        while self._first < self._next - self._reach:
            self._recent.popleft()
            self._first += 1
        offset = self._first - self._next + self._reach
        weights = np.array(self._weights[offset : offset + len(self._recent)])
        mean = weights @ np.stack([*self._recent][: len(weights)]) / weights.sum()
        self._next += 1
        return softmax(mean).astype(np.float32)


def softmax(scores: Float64[np.ndarray, "*n k"]) -> Float64[np.ndarray, "*n k"]:
    """Probabilities from log scores."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
