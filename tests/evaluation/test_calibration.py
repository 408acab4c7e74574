import json
import math

import numpy as np
import pytest

from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.calibration import calibrate, confidence_bins

# confidences 0.6 (right), 0.7 (wrong), 0.9 (right), 0.8 (right): two bins have (0.6, 0.7, 0.9, 0.8) in the upper one
PROBABILITIES = np.array([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8]])
LABELS = np.array([0, 1, 1, 1])


def test_error_is_the_distance_of_confidence_and_accuracy_weighted_by_samples():
    # bins of a fifth: (0.4, 0.6] has 0.6, right; (0.6, 0.8] has 0.7 wrong and 0.8 right; (0.8, 1] has 0.9, right
    found = calibrate(PROBABILITIES, LABELS, num_bins=5)
    assert [item.count for item in found.bins] == [0, 0, 1, 2, 1]
    assert [item.confidence for item in found.bins[2:]] == pytest.approx([0.6, 0.75, 0.9])
    assert [item.accuracy for item in found.bins[2:]] == [1, 0.5, 1]
    assert found.ece == pytest.approx(1 / 4 * 0.4 + 2 / 4 * 0.25 + 1 / 4 * 0.1)


def test_one_bin_compares_the_means():
    assert calibrate(PROBABILITIES, LABELS, num_bins=1).ece == pytest.approx(abs(0.75 - 3 / 4))


def test_likelihood_and_brier_score_by_hand():
    found = calibrate(PROBABILITIES, LABELS)
    assert found.nll == pytest.approx(-(math.log(0.6) + math.log(0.3) + math.log(0.9) + math.log(0.8)) / 4)
    # two classes: twice the squared distance of the true class's probability from 1
    assert found.brier == pytest.approx(2 * (0.4**2 + 0.7**2 + 0.1**2 + 0.2**2) / 4)


def test_brier_score_counts_every_wrong_class():
    found = calibrate(np.array([[0.5, 0.2, 0.3]]), np.array([1]))
    assert found.brier == pytest.approx(0.5**2 + 0.8**2 + 0.3**2)


def test_confidence_on_an_edge_belongs_to_the_lower_bin():
    bins = confidence_bins(np.array([0.25, 0.5, 0.75, 1.0, 0.2501]), np.ones(5, dtype=bool), num_bins=4)
    assert [item.count for item in bins] == [1, 2, 1, 1]


def test_bins_cover_zero_to_one_without_gaps():
    bins = calibrate(PROBABILITIES, LABELS).bins
    assert len(bins) == 15
    assert [item.high for item in bins[:-1]] == [item.low for item in bins[1:]]
    assert (bins[0].low, bins[-1].high) == (0, 1)
    assert sum(item.count for item in bins) == 4


def test_certain_and_always_right_is_perfect():
    found = calibrate(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
    assert (found.ece, found.nll, found.brier) == (0, 0, 0)


def test_certain_and_always_wrong_is_the_worst_and_still_a_number():
    found = calibrate(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]))
    assert (found.ece, found.brier) == (1, 2)
    assert found.nll == pytest.approx(87.3, abs=0.1)


def test_empty_bins_are_none_in_json():
    written = json.loads(json.dumps(calibrate(PROBABILITIES, LABELS, num_bins=5).to_dict(), allow_nan=False))
    assert written["bins"][0] == {"low": 0, "high": 0.2, "count": 0, "confidence": None, "accuracy": None}
    assert written["bins"][3]["count"] == 2


def test_no_samples_are_refused():
    with pytest.raises(DataError, match="no samples"):
        calibrate(PROBABILITIES[:0], LABELS[:0])
    with pytest.raises(ConfigError, match="num_bins=0 must be at least 1"):
        calibrate(PROBABILITIES, LABELS, num_bins=0)
