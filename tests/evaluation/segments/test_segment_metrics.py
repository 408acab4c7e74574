"""Measures of segments, against cases computed by hand and second implementations by frames and loops."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.evaluation.segments.detection import TIOUS, average_precisions
from timesformer.evaluation.segments.metrics import (
    BACKGROUND,
    Events,
    boundary_errors,
    correct_frames,
    edit_score,
    f1_counts,
    label_frames,
    merge_touching,
)

EMPTY = Events.of([])
NUM_CLASSES = 3


def events(*rows: tuple[float, ...]) -> Events:
    """Segments of start, end, label and, if it matters, score."""
    return Events.of([(row[0], row[1], int(row[2]), row[3] if len(row) > 3 else 1.0) for row in rows])


def runs(labels: list[int]) -> Events:
    """Segments of frames of one second each."""
    ends = itertools.accumulate(len([*group]) for _, group in itertools.groupby(labels))
    kinds, previous, rows = [kind for kind, _ in itertools.groupby(labels)], 0, []
    for kind, end in zip(kinds, ends, strict=True):
        if kind != BACKGROUND:
            rows.append((previous, end, kind))
        previous = end
    return events(*rows)


frame_labels = st.lists(st.integers(BACKGROUND, NUM_CLASSES - 1), min_size=1, max_size=14)
frame_pairs = st.integers(1, 14).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(BACKGROUND, NUM_CLASSES - 1), min_size=n, max_size=n)] * 2)
)
free_events = st.lists(
    st.tuples(st.integers(0, 10), st.integers(1, 5), st.integers(0, NUM_CLASSES - 1)), max_size=6
).map(lambda rows: [(start, start + length, label) for start, length, label in rows])


# --- Frames ---------------------------------------------------------------------------------------------------------


def test_frames_are_labeled_by_their_time_and_ends_are_not_included():
    times = np.array([0.0, 0.4, 1.0, 1.1, 2.5])
    assert label_frames(events((0.4, 1.1, 2), (2, 3, 0)), times).tolist() == [-1, 2, 2, -1, 0]


def test_most_certain_of_overlapping_predictions_labels_a_frame():
    times = np.arange(4.0)
    assert label_frames(events((0, 3, 1, 0.5), (1, 4, 2, 0.4)), times).tolist() == [1, 1, 1, 2]


def test_any_of_overlapping_true_labels_is_correct():
    truth, times = events((0, 3, 1), (1, 4, 2)), np.arange(5.0)
    correct, covered = correct_frames(truth, events((0, 2, 1), (2, 5, 2)), times)
    assert correct.tolist() == [True, True, True, True, False]
    assert covered.tolist() == [True, True, True, True, False]


@given(frame_pairs)
def test_frame_accuracy_counts_equal_frames(pair: tuple[list[int], list[int]]):
    truth, predicted = map(np.array, pair)
    correct, covered = correct_frames(runs(pair[0]), runs(pair[1]), np.arange(float(len(truth))))
    assert correct.tolist() == (truth == predicted).tolist()
    assert covered.tolist() == (truth != BACKGROUND).tolist()


# --- Edit -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        ("kitten", "sitting", 1 - 3 / 7),
        ("abc", "abc", 1.0),
        ("abc", "", 0.0),
        ("", "ab", 0.0),
        ("", "", 1.0),
        ("abab", "baba", 0.5),
    ],
)
def test_edit_score_of_known_words(truth: str, predicted: str, expected: float):
    def spelled(word: str) -> Events:
        return events(*((2.0 * at, 2.0 * at + 1, ord(letter)) for at, letter in enumerate(word)))

    assert edit_score(spelled(truth), spelled(predicted)) == pytest.approx(expected, abs=1e-12)


def test_edit_score_ignores_durations_and_background():
    assert edit_score(events((0, 9, 0), (9, 10, 1)), events((3, 4, 0), (6, 20, 1))) == 1


@given(frame_labels, frame_labels)
def test_edit_score_is_symmetric_and_from_0_to_1(first: list[int], second: list[int]):
    score = edit_score(runs(first), runs(second))
    assert 0 <= score <= 1
    assert score == edit_score(runs(second), runs(first))


# --- F1 -------------------------------------------------------------------------------------------------------------


def test_f1_counts_computed_by_hand():
    truth = events((0, 10, 0), (10, 20, 1), (20, 30, 0))
    predicted = events((0, 4, 0), (4, 9, 0.0), (12, 20, 1), (20, 26, 2), (26, 30, 0))
    # the touching pieces of class 0 are one of 9 s: overlap 0.9; class 1: 0.8; the last: 0.4
    assert f1_counts(truth, predicted, tiou=0.10) == (3, 1, 0)
    assert f1_counts(truth, predicted, tiou=0.50) == (2, 2, 1)
    assert f1_counts(truth, predicted, tiou=0.85) == (1, 3, 2)


def test_true_segment_is_matched_once():
    truth, predicted = events((0, 10, 0)), events((0, 6, 0), (7, 10, 0))
    assert f1_counts(truth, predicted, tiou=0.25) == (1, 1, 0)


def test_overlap_at_the_threshold_counts():
    assert f1_counts(events((0, 10, 0)), events((0, 5, 0)), tiou=0.5) == (1, 0, 0)


def counts_by_frames(truth: list[int], predicted: list[int], tiou: float) -> tuple[int, int, int]:
    """The rule of MS-TCN on sets of frames."""

    def segments(labels: list[int]) -> list[tuple[int, set[int]]]:
        found, at = [], 0
        for label, group in itertools.groupby(labels):
            length = len([*group])
            if label != BACKGROUND:
                found.append((label, set(range(at, at + length))))
            at += length
        return found

    true, hit, correct = segments(truth), set(), 0
    for label, frames in segments(predicted):
        ious = [len(frames & other) / len(frames | other) * (label == kind) for kind, other in true]
        best = max(range(len(ious)), key=ious.__getitem__, default=None)
        if best is not None and ious[best] >= tiou and best not in hit:
            hit.add(best)
            correct += 1
    return correct, len(segments(predicted)) - correct, len(true) - correct


@given(frame_pairs, st.sampled_from([0.1, 0.25, 0.5]))
def test_f1_counts_are_those_of_a_count_by_frames(pair: tuple[list[int], list[int]], tiou: float):
    assert f1_counts(runs(pair[0]), runs(pair[1]), tiou=tiou) == counts_by_frames(*pair, tiou)


@given(free_events)
def test_merged_segments_of_a_class_cover_the_same_time_and_never_touch(rows: list[tuple[int, int, int]]):
    merged = merge_touching(events(*rows))
    for label in range(NUM_CLASSES):
        covered = {second for start, end, kind in rows if kind == label for second in range(start, end)}
        own = [(start, end) for start, end, kind, _ in merged.rows() if kind == label]
        assert covered == {second for start, end in own for second in range(int(start), int(end))}
        assert all(first[1] < second[0] for first, second in itertools.pairwise(own))


# --- Boundaries -----------------------------------------------------------------------------------------------------


def test_boundary_errors_are_signed_and_only_of_matched_segments():
    truth = events((0, 10, 0), (10, 20, 1), (30, 40, 2))
    predicted = events((1, 9.5, 0), (10.25, 21, 1), (38, 44, 2))
    np.testing.assert_allclose(boundary_errors(truth, predicted), [[1, -0.5], [0.25, 1]])


def test_there_are_no_boundary_errors_without_matches():
    assert boundary_errors(EMPTY, events((0, 1, 0))).shape == (0, 2)


# --- Mean average precision -----------------------------------------------------------------------------------------


def one_class(truths: list[Events], detections: list[Events], tiou: float) -> float:
    return float(average_precisions(truths, detections, num_classes=1, tious=[tiou])[0, 0, 0])


def test_average_precision_computed_by_hand():
    truths = [events((0, 10, 0), (20, 30, 0)), events((0, 10, 0))]
    detections = [events((0, 10, 0, 0.9), (50, 60, 0, 0.8), (20, 30, 0, 0.5)), events((0, 9, 0, 0.7))]
    # hit, miss, hit, hit: precisions 1, 2/3, 3/4 at recalls 1/3, 2/3, 1; interpolated 1, 3/4, 3/4
    assert one_class(truths, detections, 0.5) == pytest.approx((1 + 0.75 + 0.75) / 3)
    # at 0.95 the third is a miss: 1 and 1/2, and one true segment is never found
    assert one_class(truths, detections, 0.95) == pytest.approx((1 + 0.5) / 3)


def test_second_detection_of_a_segment_is_a_false_positive():
    truths, detections = [events((0, 10, 0), (40, 50, 0))], [events((0, 10, 0, 0.9), (1, 10, 0, 0.8), (40, 50, 0, 0.7))]
    assert one_class(truths, detections, 0.5) == pytest.approx((1 + 2 / 3) / 2)


def test_detection_falls_back_to_the_next_free_segment():
    truths = [events((0, 10, 0), (2, 12, 0))]
    detections = [events((0, 10, 0, 0.9), (0, 11, 0, 0.8))]
    assert one_class(truths, detections, 0.5) == 1


def area_by_loops(truths: list[Events], detections: list[Events], label: int, tiou: float) -> float:
    """Average precision as the sum over true segments of the best precision at that recall or above."""
    ranked = sorted(
        ((score, video, start, end) for video, found in enumerate(detections)
         for start, end, kind, score in found.rows() if kind == label), reverse=True,
    )  # fmt: skip
    targets = {
        (video, index): (start, end)
        for video, truth in enumerate(truths)
        for index, (start, end, kind, _) in enumerate(truth.rows())
        if kind == label
    }
    taken, hits = set(), []
    for _, video, start, end in ranked:
        ious = {
            key: max(0, min(end, other[1]) - max(start, other[0])) / (max(end, other[1]) - min(start, other[0]))
            for key, other in targets.items()
            if key[0] == video and key not in taken
        }
        best = max(ious, key=lambda key: (ious[key], -key[1]), default=None)
        hits.append(best is not None and ious[best] >= tiou)
        if hits[-1]:
            taken.add(best)
    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank in range(len(hits))]
    return sum(max(precisions[rank:]) for rank, hit in enumerate(hits) if hit) / len(targets)


@given(st.lists(st.tuples(free_events, free_events), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_average_precision_is_that_of_loops(videos: list[tuple], random):
    truths = [events(*truth) for truth, _ in videos]
    scores = iter(random.sample(range(100), 100))  # all different, so that the order is one
    detections = [events(*((*row, next(scores) / 100) for row in found)) for _, found in videos]
    tious = (0.2, 0.5, 0.75)
    got = average_precisions(truths, detections, num_classes=NUM_CLASSES, tious=tious)[0]
    for label, (column, tiou) in itertools.product(range(NUM_CLASSES), enumerate(tious)):
        if any((truth.label == label).any() for truth in truths):
            assert got[label, column] == pytest.approx(area_by_loops(truths, detections, label, tiou))
        else:
            assert np.isnan(got[label, column])


@given(st.lists(st.tuples(free_events, free_events), min_size=2, max_size=4), st.lists(st.integers(0, 3), min_size=4))
def test_weight_of_a_video_is_as_good_as_its_copies(videos: list[tuple], weights: list[int]):
    truths = [events(*truth) for truth, _ in videos]
    detections = [events(*((*row, row[0] / 10) for row in found)) for _, found in videos]
    weights = weights[: len(videos)]
    copies = [index for index, weight in enumerate(weights) for _ in range(weight)]
    got = average_precisions(truths, detections, num_classes=NUM_CLASSES, weights=np.array([weights]))
    # copies of a video have equal scores, which are one point of the curve in both
    want = average_precisions(
        [truths[index] for index in copies], [detections[index] for index in copies], num_classes=NUM_CLASSES
    )
    np.testing.assert_allclose(got, want, atol=1e-12)


@given(st.lists(st.tuples(free_events, free_events), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_order_of_videos_does_not_matter_even_with_equal_scores(videos: list[tuple], random):
    def area(chosen: list[tuple]) -> np.ndarray:
        return average_precisions(
            [events(*truth) for truth, _ in chosen], [events(*found) for _, found in chosen], num_classes=NUM_CLASSES
        )

    np.testing.assert_allclose(area(videos), area(random.sample(videos, len(videos))), atol=1e-12)


# --- Limits ---------------------------------------------------------------------------------------------------------


@given(free_events.filter(bool))
def test_perfect_prediction_has_the_highest_value_of_every_measure(rows: list[tuple[int, int, int]]):
    truth = merge_touching(events(*rows))
    assert edit_score(truth, truth) == 1
    assert f1_counts(truth, truth, tiou=0.95) == (len(truth), 0, 0)
    assert not boundary_errors(truth, truth).any()
    areas = average_precisions([truth], [truth], num_classes=NUM_CLASSES)
    np.testing.assert_array_equal(areas[~np.isnan(areas)], 1)


@given(free_events.filter(bool))
def test_empty_prediction_and_empty_truth_have_the_lowest(rows: list[tuple[int, int, int]]):
    segments = merge_touching(events(*rows))
    assert edit_score(segments, EMPTY) == edit_score(EMPTY, segments) == 0
    assert f1_counts(segments, EMPTY, tiou=0.1) == (0, 0, len(segments))
    assert f1_counts(EMPTY, segments, tiou=0.1) == (0, len(segments), 0)
    areas = average_precisions([segments], [EMPTY], num_classes=NUM_CLASSES)
    np.testing.assert_array_equal(areas[~np.isnan(areas)], 0)
    assert np.isnan(average_precisions([EMPTY], [segments], num_classes=NUM_CLASSES)).all()


def test_thresholds_are_those_of_activitynet():
    assert TIOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
