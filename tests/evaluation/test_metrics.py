import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.metrics import (
    bootstrap_interval,
    confusion_matrix,
    mean_class_accuracy,
    most_confused,
    per_class_accuracy,
    per_class_precision,
    top_k_accuracy,
    true_class_ranks,
)

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
LABELS = np.array([1, 1, 0, 2])


def test_rank_of_the_true_class_counts_from_one():
    assert true_class_ranks(SCORES, LABELS).tolist() == [1, 2, 3, 2]


def test_equal_scores_rank_by_index_so_that_a_constant_model_is_not_always_right():
    constant = np.ones((3, 3))
    assert true_class_ranks(constant, np.array([0, 1, 2])).tolist() == [1, 2, 3]


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 99))
def test_rank_one_is_the_argmax(num_classes: int, size: int, seed: int):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, size=(size, num_classes)).astype(float)  # few values: many ties
    labels = rng.integers(num_classes, size=size)
    np.testing.assert_array_equal(true_class_ranks(scores, labels) == 1, scores.argmax(axis=1) == labels)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.25), (2, 0.75), (3, 1.0)])
def test_top_k_counts_classes_among_the_best_k(k: int, expected: float):
    assert top_k_accuracy(SCORES, LABELS, k=k) == expected


def test_top_five_of_three_classes_is_everything():
    assert top_k_accuracy(SCORES, LABELS, k=5) == 1.0


def test_top_zero_is_refused():
    with pytest.raises(ConfigError, match="k=0 must be at least 1"):
        top_k_accuracy(SCORES, LABELS, k=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float):
    scores = SCORES.copy()
    scores[2, 1] = bad
    with pytest.raises(DataError, match="not finite"):
        top_k_accuracy(scores, LABELS, k=1)


def test_no_samples_are_refused():
    with pytest.raises(DataError, match="no samples"):
        top_k_accuracy(SCORES[:0], LABELS[:0], k=1)
    with pytest.raises(DataError, match="no samples"):
        mean_class_accuracy(np.zeros((3, 3), dtype=int))
    with pytest.raises(DataError, match="no samples"):
        bootstrap_interval(np.zeros(0, dtype=bool), seed=0)


def test_confusion_has_true_classes_in_rows():
    confusion = confusion_matrix(np.array([0, 0, 2, 1]), np.array([1, 1, 2, 0]), num_classes=4)
    assert confusion.tolist() == [[0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_class_without_samples_has_no_accuracy_and_no_weight_in_the_mean():
    confusion = np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(per_class_accuracy(confusion), [0.75, np.nan, 0.5])
    assert mean_class_accuracy(confusion) == 0.625


def test_mean_class_accuracy_does_not_follow_the_larger_class():
    confusion = np.array([[98, 0], [2, 0]])
    assert mean_class_accuracy(confusion) == 0.5


def test_precision_is_a_fraction_of_the_column_and_nan_without_predictions():
    confusion = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 0]])
    np.testing.assert_array_equal(per_class_precision(confusion), [0.6, 0.0, np.nan])


def test_most_confused_are_the_largest_counts_off_the_diagonal():
    confusion = np.array([[9, 1, 0], [4, 0, 1], [0, 0, 5]])
    assert most_confused(confusion, count=2) == [(1, 0, 4), (0, 1, 1)]
    assert most_confused(confusion, count=9) == [(1, 0, 4), (0, 1, 1), (1, 2, 1)]
    assert most_confused(np.eye(3, dtype=int), count=9) == []


def test_interval_of_a_known_fraction_matches_the_binomial():
    low, high = bootstrap_interval(np.arange(400) < 320, seed=3)
    # 0.8 +- 1.96 * sqrt(0.8 * 0.2 / 400)
    assert low == pytest.approx(0.8 - 0.0392, abs=0.005)
    assert high == pytest.approx(0.8 + 0.0392, abs=0.005)


def test_interval_narrows_with_confidence():
    correct = np.arange(50) < 30
    low, high = bootstrap_interval(correct, seed=0, confidence=0.5)
    wide_low, wide_high = bootstrap_interval(correct, seed=0, confidence=0.99)
    assert wide_low < low < 0.6 < high < wide_high


def test_interval_depends_on_nothing_but_its_seed():
    correct = np.arange(50) < 30
    np.random.default_rng(0).random()
    assert bootstrap_interval(correct, seed=7) == bootstrap_interval(correct, seed=7)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_outside_its_range_is_refused(confidence: float):
    with pytest.raises(ConfigError, match="must lie between 0 and 1"):
        bootstrap_interval(np.ones(3, dtype=bool), seed=0, confidence=confidence)
