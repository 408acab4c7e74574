"""The annotated video: every frame at its time, with its labels and the timeline beneath."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from jaxtyping import UInt8

from made_timelines import LABELS, make_curves, make_timeline
from timesformer.data.video.reader import open_reader
from timesformer.errors import ConfigError, DataError, DecodeError
from timesformer.timelines.captions import Caption, burn_in
from timesformer.timelines.colors import DARK, to_rgb
from timesformer.timelines.fonts import font_for, shortened
from timesformer.timelines.formats.write import write
from timesformer.timelines.strip import draw_strip
from timesformer.timelines.timeline import Gap, Timeline
from videos import damage_packets, decode_all, frame_indices, write_frames, write_video

HEIGHT, WIDTH = 160, 200
STRIP = 36


def of_video(segments: list[tuple[str, float, float]], *, duration: float = 0.4, height: int = HEIGHT) -> Timeline:
    timeline = make_timeline(segments, duration=duration)
    return replace(timeline, source=replace(timeline.source, height=height, width=WIDTH))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", height=HEIGHT, width=WIDTH)


def times_of(path: Path) -> list[float]:
    with open_reader(path) as reader:
        return reader.times.tolist()


def has_color(part: UInt8[np.ndarray, "h w 3"], color: str) -> bool:
    """Whether some pixels have a color, as far as 4:2:0 keeps it."""
    return bool((np.abs(part.astype(int) - to_rgb(color)).max(axis=2) < 40).any())


def test_every_frame_is_written_once_at_its_time(video: Path, tmp_path: Path):
    output = tmp_path / "out.mp4"
    write(of_video([("clap", 0, 0.4)]), output, to="mp4", video=video)
    frames = decode_all(output)
    assert frames.shape == (10, HEIGHT + STRIP, WIDTH, 3)
    assert frame_indices(frames[:, :HEIGHT]) == list(range(10))
    assert times_of(output) == pytest.approx(times_of(video), abs=1e-9)


def test_times_of_a_variable_rate_are_kept(tmp_path: Path):
    video = write_video(tmp_path / "clip.mkv", times_ms=[0, 40, 55, 300, 301, 500, 517, 800, 1000, 1040], height=HEIGHT)
    timeline = of_video([], duration=1.08)
    timeline = replace(timeline, source=replace(timeline.source, width=80))
    write(timeline, tmp_path / "out.mp4", to="mp4", video=video)
    assert times_of(tmp_path / "out.mp4") == pytest.approx(times_of(video), abs=1 / 90_000)


def test_a_label_is_burnt_in_while_its_segment_lasts(video: Path, tmp_path: Path):
    write(of_video([("clap", 0.08, 0.2)]), tmp_path / "out.mp4", to="mp4", video=video)
    color = DARK[LABELS.index("clap")]
    corners = decode_all(tmp_path / "out.mp4")[:, : HEIGHT // 4, : WIDTH // 4]
    assert [has_color(corner, color) for corner in corners] == [2 <= i < 5 for i in range(10)]


def test_the_cursor_moves_from_left_to_right(video: Path, tmp_path: Path):
    write(of_video([]), tmp_path / "out.mp4", to="mp4", video=video)
    strips = decode_all(tmp_path / "out.mp4")[:, HEIGHT:].mean(axis=(1, 3))
    positions = strips.argmax(axis=1)
    np.testing.assert_allclose(positions, np.arange(10) * 0.04 / 0.4 * (WIDTH - 1), atol=2)


def test_odd_sides_are_made_even(tmp_path: Path):
    video = write_video(tmp_path / "clip.mkv", height=81, width=121, codec="ffv1", pix_fmt="bgr0")
    timeline = of_video([("clap", 0, 0.4)])
    timeline = replace(timeline, source=replace(timeline.source, height=81, width=121))
    write(timeline, tmp_path / "out.mp4", to="mp4", video=video)
    assert decode_all(tmp_path / "out.mp4").shape == (10, 82 + STRIP, 122, 3)


def test_a_folder_of_frames_is_annotated_at_its_assumed_rate(tmp_path: Path):
    folder = write_frames(tmp_path / "frames", num_frames=7, height=HEIGHT, width=WIDTH)
    write(of_video([]), tmp_path / "out.mp4", to="mp4", video=folder)
    assert frame_indices(decode_all(tmp_path / "out.mp4")[:, :HEIGHT]) == list(range(7))
    assert times_of(tmp_path / "out.mp4") == pytest.approx([i / 30 for i in range(7)], abs=1e-9)


def test_frames_that_cannot_be_decoded_repeat_the_one_before(tmp_path: Path):
    video = write_video(tmp_path / "clip.mp4", height=HEIGHT, width=WIDTH, codec="mpeg4", gop=1)
    damage_packets(video, [4, 5])
    write(of_video([]), tmp_path / "out.mp4", to="mp4", video=video)
    assert frame_indices(decode_all(tmp_path / "out.mp4")[:, :HEIGHT]) == [0, 1, 2, 3, 3, 3, 6, 7, 8, 9]


def test_sound_is_left_out(video: Path, tmp_path: Path):
    write(of_video([]), tmp_path / "out.mp4", to="mp4", video=video)
    with av.open(tmp_path / "out.mp4") as file:
        assert [stream.type for stream in file.streams] == ["video"]


def test_progress_is_told_for_each_frame(video: Path, tmp_path: Path):
    told = []
    write(
        of_video([]),
        tmp_path / "out.mp4",
        to="mp4",
        video=video,
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 10) for done in range(1, 11)]


def test_memory_does_not_grow_with_the_video(tmp_path: Path):
    def peak(num_frames: int) -> int:
        video = write_video(tmp_path / f"{num_frames}.mp4", num_frames=num_frames, height=HEIGHT, width=WIDTH)
        tracemalloc.start()
        write(of_video([], duration=num_frames / 25), tmp_path / f"out{num_frames}.mp4", to="mp4", video=video)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # fonts and modules
    # a record of about 300 bytes is kept for each packet; a frame has 96,000
    assert peak(110) - peak(30) < 80 * 1000


def test_the_video_of_another_timeline_is_refused(video: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"clip.mp4: has frames of 160x200 pixels, but .* of 48x80 pixels"):
        write(make_timeline([]), tmp_path / "out.mp4", to="mp4", video=video)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4"]


def test_a_timeline_without_its_video_is_not_annotated(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"to='mp4' needs the video: pass video=..., or leave mp4 out for a stream"):
        write(make_timeline([]), tmp_path / "out.mp4", to="mp4")


def test_a_missing_video_leaves_no_file(tmp_path: Path):
    with pytest.raises(DecodeError, match=r"clip.mp4"):
        write(make_timeline([]), tmp_path / "out.mp4", to="mp4", video=tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []


def test_captions_fit_into_small_frames_and_at_most_four_are_drawn():
    frame = np.full((90, 60, 3), 200, dtype=np.uint8)
    burn_in(frame, [Caption("a class with a long name", index, 0.5) for index in range(8)])
    assert [has_color(frame, color) for color in DARK] == [True] * 4 + [False] * 4
    tiny = np.zeros((9, 7, 3), dtype=np.uint8)
    burn_in(tiny, [Caption("clap", 0, 1.0)])


def test_the_most_probable_class_is_the_first_caption(video: Path, tmp_path: Path):
    timeline = of_video([("clap", 0, 0.4), ("-dash", 0, 0.4)])
    curves = make_curves(timeline)
    curves.probabilities[:, LABELS.index("-dash")] *= 1.5
    write(timeline, tmp_path / "out.mp4", to="mp4", video=video, curves=curves)
    first = decode_all(tmp_path / "out.mp4")[3, :18, :18]
    assert has_color(first, DARK[LABELS.index("-dash")])
    assert not has_color(first, DARK[LABELS.index("clap")])


def test_the_strip_is_to_scale_with_a_row_for_each_overlap():
    timeline = make_timeline([("clap", 0, 10), ("-dash", 5, 15)], mode="overlapping")
    picture = draw_strip(timeline, curves=None, width=200, height=40, duration=20).picture
    for label, start, end in [("clap", 0, 100), ("-dash", 50, 150)]:
        columns = np.flatnonzero((picture == to_rgb(DARK[LABELS.index(label)])).all(axis=2).any(axis=0))
        assert (columns[0], columns[-1] + 1) == pytest.approx((start, end), abs=1.5)


def test_the_strip_hatches_gaps():
    timeline = make_timeline([], gaps=[Gap(start=5, end=10, reason="stream cut")])
    picture = draw_strip(timeline, curves=None, width=200, height=40, duration=20).picture
    hatched = np.flatnonzero((picture == to_rgb("#A5AEB8")).all(axis=2).any(axis=0))
    assert (hatched[0], hatched[-1] + 1) == pytest.approx((50, 100), abs=1.5)


def test_a_font_with_the_most_letters_is_chosen_and_long_texts_are_shortened():
    assert font_for("clap", size=12).getlength("clap") > 0
    text = shortened("a class with a long name", width=60, size=12)
    assert text.endswith("…")
    assert font_for(text, size=12).getlength(text) <= 60
    assert shortened("clap", width=60, size=12) == "clap"
