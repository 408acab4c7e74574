import pytest

from timesformer.evaluation.report import choose_examples
from timesformer.evaluation.result import VideoResult


def result(label: str, number: int, *, rank: int = 1, probability: float = 0.5) -> VideoResult:
    return VideoResult(
        path=f"{label}{number}", label=label, predicted=label, probability=probability, rank=rank, views=1
    )


RIGHT = [result(label, number) for label in "ab" for number in range(5)]
WRONG = [result("c", number, rank=2, probability=number / 10) for number in range(9)]


def test_the_surest_mistakes_come_first_and_are_half():
    shown = choose_examples(RIGHT + WRONG, count=6)
    assert [video.path for video in shown] == ["c8", "c7", "c6", "a0", "b0", "a1"]


@pytest.mark.parametrize(
    ("right", "wrong", "count", "want"), [(10, 0, 6, 6), (0, 9, 6, 6), (1, 9, 6, 6), (2, 1, 6, 3), (10, 1, 6, 6)]
)
def test_as_many_are_shown_as_there_are_and_as_are_asked_for(right, wrong, count, want):
    shown = choose_examples(RIGHT[:right] + WRONG[:wrong], count=count)
    assert len(shown) == want
    assert len({video.path for video in shown}) == want
