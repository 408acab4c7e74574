"""Class curves with gaps, and thresholds, for property tests."""

import itertools

import numpy as np
from hypothesis import strategies as st

from timesformer.config.thresholds import Thresholds
from timesformer.timelines.decide import Piece
from timesformer.timelines.timeline import Curves

CLASSES = ("walk", "background", "wave")


@st.composite
def drawn(draw):
    """Curves of one to three pieces, and thresholds."""
    num, k = draw(st.integers(1, 40)), len(CLASSES)
    weights = draw(st.lists(st.lists(st.floats(0.01, 5), min_size=k, max_size=k), min_size=num, max_size=num))
    scores = np.array(weights)
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    step = draw(st.floats(0.05, 1.0))
    cuts = sorted(draw(st.sets(st.integers(1, num), max_size=2)))
    edges = [0, *cuts, num] if num not in cuts else [0, *cuts]
    times, pieces = [], []
    for part, (first, end) in enumerate(itertools.pairwise(edges)):
        start = first * step + 2.0 * part
        own = start + step * np.arange(end - first)
        times.append(own)
        pieces.append(Piece(start, float(own[-1] + draw(st.floats(0.01, 1)) * step)))
    onset = draw(st.floats(0.05, 0.95))
    thresholds = Thresholds(
        onset=onset,
        offset=draw(st.floats(0.01, 1)) * onset,
        min_on=draw(st.floats(0, 3)),
        min_off=draw(st.floats(0, 3)),
    )
    return Curves(times=np.concatenate(times), probabilities=probabilities), thresholds, pieces
