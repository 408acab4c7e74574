"""Background: from unlabeled time alone, as much as asked for, in lengths of the labels, the same every time."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.data.manifest.background import merged, with_background
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment
from timesformer.errors import ConfigError, DataError, DecodeError
from videos import write_timed, write_video

FPS = 5
SECONDS = 12


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "long.mp4", num_frames=FPS * SECONDS, fps=FPS)


def manifest_of(path: Path, *segments: tuple[float, float], label: int = 0, group: str = "") -> Manifest:
    return Manifest(tuple(Sample(path, label, group, Segment(*times)) for times in segments), ("run", "walk"))


def background_of(manifest: Manifest) -> list[Segment]:
    label = manifest.class_names.index("background")
    return [sample.segment for sample in manifest.samples if sample.label == label]


def seconds(segments: list[Segment]) -> float:
    return sum(segment.end - segment.start for segment in segments)


def has_room(labeled: list[tuple[float, float]], *, ratio: float) -> bool:
    """Whether the shortest label fits into a gap, and would bring the total closer to what is asked for."""
    covered = merged([Segment(*times) for times in labeled])
    edges = [0.0, *(time for segment in covered for time in segment), float(SECONDS)]
    shortest = min(end - start for start, end in labeled)
    room = max(end - start for start, end in zip(edges[::2], edges[1::2], strict=True))
    return shortest <= room and shortest / 2 <= ratio * seconds(covered)


EDGES = st.lists(st.integers(0, FPS * SECONDS), min_size=2, max_size=10, unique=True).map(sorted)


@given(edges=EDGES, ratio=st.floats(0.05, 3), seed=st.integers(0, 2**32), overlap=st.booleans())
@settings(deadline=None)
def test_background_lies_in_unlabeled_time_and_shows_frames(edges, ratio, seed, overlap, video):
    times = [edge / FPS for edge in edges]
    labeled = list(zip(times[:-1:2], times[1::2], strict=False)) + ([(times[0], times[-1])] if overlap else [])
    manifest = manifest_of(video, *labeled, group="g")
    if not has_room(labeled, ratio=ratio):
        with pytest.raises(DataError, match=r"^background: no video has unlabeled time for a segment as long as the"):
            with_background(manifest, ratio=ratio, seed=seed)
        return
    found = with_background(manifest, ratio=ratio, seed=seed)
    assert found == with_background(manifest, ratio=ratio, seed=seed)
    assert found.class_names == ("run", "walk", "background")
    assert found.samples[: len(labeled)] == manifest.samples
    background = background_of(found)
    assert len(merged([*background, *map(Segment._make, labeled)])) <= len(background) + len(labeled)
    for one in background:
        assert 0 <= one.start < one.end <= SECONDS + 1e-9
        assert any(one.end - one.start == pytest.approx(end - start) for start, end in labeled)
        for other in (*labeled, *(other for other in background if other is not one)):
            assert one.end <= other[0] + 1e-9 or other[1] <= one.start + 1e-9
    wanted = ratio * seconds(merged([Segment(*times) for times in labeled]))
    assert seconds(background) <= wanted + max(end - start for start, end in labeled) / 2 + 1e-6
    assert {sample.group for sample in found.samples} == {"g"}
    with open_reader(video) as reader:
        assert all(segment.frames(reader.times) for segment in background)


def test_as_many_seconds_are_sampled_as_asked_for(video: Path):
    manifest = manifest_of(video, (0, 1), (4, 5), (8, 9))
    for ratio, count in ((1 / 3, 1), (1.0, 3), (2.0, 6)):
        assert len(background_of(with_background(manifest, ratio=ratio, seed=3))) == count


def test_overlapping_labels_count_once(video: Path):
    found = with_background(manifest_of(video, (0, 2), (0, 2), (0, 2)), ratio=1, seed=0)
    assert [segment.end - segment.start for segment in background_of(found)] == [pytest.approx(2)]


def test_each_video_and_seed_has_its_own_draws_whatever_its_folder(video: Path, tmp_path: Path):
    def starts(name: str, seed: int) -> list[float]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(video.read_bytes())
        found = with_background(manifest_of(path, (5, 6)), ratio=3, seed=seed)
        return [segment.start for segment in background_of(found)]

    assert starts("a.mp4", 0) == starts("elsewhere/a.mp4", 0)
    assert len({tuple(starts(name, seed)) for name in ("a.mp4", "b.mp4") for seed in (0, 1)}) == 4


def test_starts_are_uniform_over_the_free_time(tmp_path: Path, video: Path):
    manifest = manifest_of(video, (2, 3))
    found = np.array([background_of(with_background(manifest, ratio=1, seed=seed))[0].start for seed in range(400)])
    # free are 0 to 2 s and 3 to 12 s: starts from 0 to 1 s and from 3 to 11 s, one ninth and eight ninths of them
    assert ((found <= 1) | (found >= 3)).all()
    assert np.mean(found <= 1) == pytest.approx(1 / 9, abs=0.05)  # three standard errors
    assert np.mean(found[found >= 3]) == pytest.approx(7, abs=0.4)


def test_background_in_a_gap_without_frames_is_not_taken(tmp_path: Path):
    path = write_timed(tmp_path / "gap.mkv", [0, 200, 400, 600, 9000, 9200, 9400], fps=FPS)
    for seed in range(20):
        found = with_background(manifest_of(path, (0, 0.4), (9.2, 9.4)), ratio=20, seed=seed)
        with open_reader(path) as reader:
            assert all(segment.frames(reader.times) for segment in background_of(found))


def test_existing_class_without_a_labeled_segment_is_used(video: Path):
    manifest = Manifest((Sample(video, 1, segment=Segment(0, 1)),), ("background", "run"))
    found = with_background(manifest, ratio=1, seed=0)
    assert (found.class_names, found.samples[1].label) == (("background", "run"), 0)


@pytest.mark.parametrize("name", ["background", "Background"])
def test_class_that_is_labeled_by_hand_is_refused(name: str, video: Path):
    manifest = Manifest((Sample(video, 0, segment=Segment(0, 1)),), (name,))
    message = (
        rf"^training: unlabeled time would become the class 'background', but '{name}' is labeled in the list: set"
    )
    with pytest.raises(DataError, match=message):
        with_background(manifest, ratio=1, seed=0, source="training")


def test_whole_videos_have_no_background(video: Path):
    manifest = Manifest((Sample(video, 0, segment=Segment(0, 1)), Sample(Path("b.mp4"), 0)), ("run",))
    with pytest.raises(
        DataError, match=r"^background: b\.mp4 is labeled as a whole, so no time is left for background"
    ):
        with_background(manifest, ratio=1, seed=0)


def test_videos_that_are_labeled_to_the_end_have_no_background(video: Path):
    with pytest.raises(DataError, match="no video has unlabeled time for a segment as long as the labeled ones"):
        with_background(manifest_of(video, (0, SECONDS)), ratio=1, seed=0)


@pytest.mark.parametrize("ratio", [-1.0, float("nan"), float("inf")])
def test_ratio_out_of_range_is_refused(ratio: float, video: Path):
    with pytest.raises(ConfigError, match=r"background=.* must be greater than 0, and finite"):
        with_background(manifest_of(video, (0, 1)), ratio=ratio, seed=0)


def test_less_background_than_asked_for_is_a_warning(video: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        with_background(manifest_of(video, (0, 7), (8, 9)), ratio=1, seed=0, source="data.background, training")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("data.background, training: ")
    assert record.getMessage().endswith(" s of 8.0 s")


def test_unreadable_videos_are_an_error_or_have_no_background(video: Path, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    good = manifest_of(video, (0, 1))
    both = replace(good, samples=(Sample(broken, 1, segment=Segment(0, 1)), *good.samples))
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        with_background(both, ratio=1, seed=0)
    found = with_background(both, ratio=1, seed=0, skips_unreadable=True)
    assert [sample.path for sample in found.samples] == [broken, video, video]


def test_merged_segments_neither_overlap_nor_touch():
    parts = [Segment(5, 6), Segment(0, 2), Segment(1, 3), Segment(3, 4), Segment(0.5, 1)]
    assert merged(parts) == [Segment(0, 4), Segment(5, 6)]
    assert merged([]) == []
