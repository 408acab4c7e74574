import re
from pathlib import Path

import numpy as np
import pytest

from timesformer.errors import ConfigError, DataError
from timesformer.evaluation import Evaluation, write_predictions
from timesformer.evaluation.calibration import Bin
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.report.charts import reliability_diagram
from timesformer.evaluation.report.page import choose_examples, write_report
from timesformer.evaluation.report.tables import confusion_image
from timesformer.evaluation.report.videos import film_strip
from timesformer.evaluation.result import VideoResult
from timesformer.model.timesformer import TimeSformer


def result(label: str, number: int, *, rank: int = 1, probability: float = 0.5) -> VideoResult:
    return VideoResult(
        path=f"{label}{number}",
        label=label,
        predicted=label,
        probability=probability,
        rank=rank,
        num_views=1,
        true_probability=probability,
        top5=((label, probability),),
    )


RIGHT = [result(label, number) for label in "ab" for number in range(5)]
WRONG = [result("c", number, rank=2, probability=number / 10) for number in range(9)]


def test_the_most_confident_mistakes_come_first_and_are_half():
    shown = choose_examples(RIGHT + WRONG, count=6)
    assert [video.path for video in shown] == ["c8", "c7", "c6", "a0", "b0", "a1"]


@pytest.mark.parametrize(
    ("right", "wrong", "count", "want"), [(10, 0, 6, 6), (0, 9, 6, 6), (1, 9, 6, 6), (2, 1, 6, 3), (10, 1, 6, 6)]
)
def test_examples_number_the_count_or_all_predictions(right, wrong, count, want):
    shown = choose_examples(RIGHT[:right] + WRONG[:wrong], count=count)
    assert len(shown) == want
    assert len({video.path for video in shown}) == want


@pytest.fixture(scope="module")
def frames():
    """Five frames of 36 x 60 pixels, each of one gray value."""
    return np.full((5, 36, 60, 3), 0, dtype=np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None, None] * 50


def test_strip_has_the_first_middle_and_last_frame(frames):
    strip = film_strip(frames, num_frames=3)
    assert strip.shape == (72, 2 * (3 * 60 + 2), 3)  # enlarged to 72 rows, one white column between frames
    assert [int(strip[0, x, 0]) for x in (0, 119, 120, 122, 241, 244, 363)] == [0, 0, 255, 100, 100, 200, 200]


def test_strip_of_few_frames_has_all_of_them(frames):
    assert film_strip(frames[:2], num_frames=8).shape == (72, 2 * (2 * 60 + 1), 3)


def test_large_frames_keep_their_size():
    assert film_strip(np.zeros((1, 100, 30, 3), dtype=np.uint8), num_frames=3).shape == (100, 30, 3)


def test_bar_of_the_diagram_ends_at_accuracy_and_its_gap_at_confidence():
    bins = (
        Bin(low=0, high=0.5, count=0, confidence=float("nan"), accuracy=float("nan")),
        Bin(low=0.5, high=1, count=4, confidence=0.75, accuracy=0.25),
    )
    drawn = reliability_diagram(bins)
    bars = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="var\(--(\w+)\)', drawn)
    # the axes span 300 pixels from (46, 320): a quarter is 75
    assert bars == [("196.5", "245.0", "149.0", "75.0", "bar"), ("196.5", "95.0", "149.0", "150.0", "gap")]
    assert "4 videos, mean probability 75.0%, accuracy 25.0%" in drawn
    assert "nan" not in drawn


def test_underconfidence_and_overconfidence_differ_in_color():
    drawn = reliability_diagram((Bin(low=0, high=1, count=1, confidence=0.5, accuracy=1),))
    assert "--cautious" in drawn
    assert "--gap" not in drawn


def test_confusion_of_many_classes_is_an_image_from_white_to_blue():
    image = confusion_image(np.array([[4, 0, 0], [1, 1, 0], [0, 0, 0]]))
    assert image[0].tolist() == [[59, 111, 212], [255, 255, 255], [255, 255, 255]]
    assert image[1, 0].tolist() == image[1, 1].tolist() == [157, 183, 234]
    assert (image[2] == 255).all()


@pytest.fixture
def evaluation(model: TimeSformer, videos: Path) -> Evaluation:
    return evaluate(model, videos, device="cpu", num_workers=0, top_k=(1, 2))


def test_page_is_self_contained_and_has_every_section(evaluation: Evaluation, model: TimeSformer, tmp_path: Path):
    page = write_report(evaluation, tmp_path / "page.html", model=model, title="a <b> & c").read_text("utf-8")
    assert "a &lt;b&gt; &amp; c" in page
    assert "http" not in page
    for part in (
        "Most confident mistakes",
        "Correct predictions",
        "Confusion matrix",
        "Most confused",
        "Classes",
        "Calibration",
    ):
        assert part in page
    assert evaluation.protocol in page
    assert page.count("<figure>") == 9
    wrong = [video for video in evaluation.predictions if video.rank > 1]
    assert page.count("predicted: ") == len(wrong) > 0
    assert page.count(f"rank {wrong[0].rank})") >= 1


def test_classes_are_listed_by_rising_accuracy(evaluation: Evaluation, model: TimeSformer, tmp_path: Path):
    page = write_report(evaluation, tmp_path / "page.html", model=model, title="t").read_text("utf-8")
    shares = re.findall(r"</span>(\d+)%<td class=number>", page)
    assert len(shares) == 3
    assert shares == sorted(shares, key=int)


def test_page_that_cannot_be_written_is_an_error(evaluation: Evaluation, model: TimeSformer, tmp_path: Path):
    with pytest.raises(DataError, match="it is a folder"):
        write_report(evaluation, tmp_path, model=model, title="t")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(evaluation, tmp_path / "absent" / "page.html", model=model, title="t")


def test_existing_page_and_table_are_replaced_only_with_overwrite(model: TimeSformer, videos: Path, tmp_path: Path):
    found = evaluate(model, videos, device="cpu", num_workers=0)
    page, table = tmp_path / "page.html", tmp_path / "p.csv"
    for file in (page, table):
        file.write_text("mine")
    with pytest.raises(ConfigError, match=r"page\.html: already exists"):
        write_report(found, page, model=model, title="t")
    with pytest.raises(ConfigError, match=r"p\.csv: already exists"):
        write_predictions(found, table)
    write_report(found, page, model=model, title="t", overwrite=True)
    write_predictions(found, table, overwrite=True)
    assert "mine" not in (page.read_text("utf-8"), table.read_text("utf-8"))
