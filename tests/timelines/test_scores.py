import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.timelines.scores import Scores
from timesformer.timelines.windows import Windows


def brute_force(log_probabilities, windows):
    """The weighted mean at each center over all windows at once."""
    centers = windows.stride * np.arange(len(log_probabilities))
    rows = []
    for time in centers:
        weights = np.maximum(0, 1 - np.abs(centers - time) / (windows.length / 2))
        weights[weights < 1e-9] = 0
        mean = weights @ log_probabilities / weights.sum()
        rows.append(np.exp(mean) / np.exp(mean).sum())
    return np.stack(rows)


@given(num=st.integers(1, 30), share=st.sampled_from([1.0, 0.5, 0.25, 0.3, 0.1, 0.77]), length=st.floats(0.5, 5))
def test_every_instant_is_the_triangle_mean_of_the_windows_that_cover_it(num, share, length):
    windows = Windows(length, length * share)
    log_probabilities = np.random.default_rng(num).normal(size=(num, 4))
    scores = Scores(windows)
    rows = [row for each in log_probabilities for row in scores.add(each)]
    assert len(rows) >= num - int(0.5 / share) - 1  # no more is held back than the windows that still count
    rows += scores.finish()
    np.testing.assert_allclose(np.stack(rows), brute_force(log_probabilities, windows), rtol=1e-5)


def test_probabilities_of_an_instant_sum_to_one_and_a_quarter_as_stride_weighs_three_windows():
    scores = Scores(Windows(2.0, 0.5))
    logs = np.log(np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]))
    rows = [row for each in logs for row in scores.add(each)] + [*scores.finish()]
    odds = 0.25 * np.log(1) + 0.5 * np.log(9) + 0.25 * np.log(0.25)
    assert rows[1][0] / rows[1][1] == pytest.approx(np.exp(odds), rel=1e-5)
    assert all(row.sum() == pytest.approx(1) for row in rows)
