"""Strips, clips and curves are read back: sizes, frames, times, and where the strongest color lies."""

import re
import xml.etree.ElementTree as ET
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from explanations import explanation
from timesformer.data.video.reader import open_reader
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.explanation.captions import details, headline, percent
from timesformer.explanation.curve import plot, ticks
from timesformer.explanation.explanation import Explanation
from timesformer.explanation.overlay import MAX_OPACITY, colors_of
from timesformer.explanation.render import write_clip, write_curve, write_strip
from videos import draw_frame, frame_indices, set_display_matrix, write_timed, write_video

STRONGEST = MAX_OPACITY * colors_of(np.array(1.0)) + (1 - MAX_OPACITY) * 128
"""Color of the largest relevance on gray."""
_SVG = "{http://www.w3.org/2000/svg}"


def _gray(num_frames: int = 14, *, size: tuple[int, int] = (40, 62)) -> np.ndarray:
    return np.full((num_frames, *size, 3), 128, dtype=np.uint8)


def _decoded(path: Path) -> tuple[np.ndarray, list[float]]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [float(frame.time) for frame in frames]


def _strongest(picture: np.ndarray, *, tolerance: float) -> np.ndarray:
    """Rows and columns whose color is that of the largest relevance."""
    return np.argwhere(np.abs(picture.astype(float) - STRONGEST).max(axis=-1) < tolerance)


def test_strip_has_the_strongest_color_exactly_on_the_largest_relevance(tmp_path: Path):
    item = explanation(peak=(1, 0, 2), size=(200, 280), box=(20, 40, 160, 200))  # drawn at this size
    write_strip(item, tmp_path / "strip.png")
    picture = np.asarray(Image.open(tmp_path / "strip.png"))
    places = _strongest(picture[98:], tolerance=0.6)  # beneath the color bar
    left = 20 + 290  # the second frame
    np.testing.assert_array_equal(places.min(axis=0), [20, left + 40 + 100])
    np.testing.assert_array_equal(places.max(axis=0), [20 + 79, left + 40 + 149])
    assert len(places) == 80 * 50


def test_strip_shows_faint_frames_faintly(tmp_path: Path):
    relevance = np.full((3, 2, 4), 0.1, dtype=np.float32)
    relevance[0] /= 50
    write_strip(explanation(map=relevance, size=(200, 280), box=(0, 0, 200, 280)), tmp_path / "strip.png")
    picture = np.asarray(Image.open(tmp_path / "strip.png")).astype(int)
    faint, strong = picture[98:298, 20:300], picture[98:298, 310:590]
    assert np.abs(faint - 128).max() < 5
    assert np.abs(strong - STRONGEST).max() < 1


@pytest.mark.parametrize(
    ("num_frames", "size", "width"),
    [(1, (40, 62), 800), (8, (112, 112), 1190), (16, (200, 100), 1180), (40, (30, 50), 1300), (3, (1, 900), 900)],
)
def test_strip_wraps_frames_into_rows(tmp_path: Path, num_frames: int, size: tuple[int, int], width: int):
    relevance = np.full((num_frames, 2, 3), 1 / (6 * num_frames), dtype=np.float32)
    frames = np.arange(num_frames)
    pixels = _gray(num_frames, size=size)
    item = explanation(map=relevance, frames=frames, seconds=frames / 25, pixels=pixels, box=(0, 0, *size))
    write_strip(item, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as image:
        assert image.format == "PNG"
        assert image.width <= width
        assert image.height < 1600


def test_strip_without_any_relevance_is_written(tmp_path: Path):
    write_strip(explanation(map=np.zeros((3, 2, 4), dtype=np.float32)), tmp_path / "strip.png")
    assert (tmp_path / "strip.png").exists()


@pytest.mark.parametrize("label", ["波を打つ", "a" * 500, "tab\there", "caf\udce9"])
def test_odd_labels_are_drawn(tmp_path: Path, label: str):
    item = explanation(label=label, path=f"{label}.mp4")
    write_strip(item, tmp_path / "strip.png")
    write_curve(item, tmp_path / "curve.svg")
    ET.parse(tmp_path / "curve.svg")


@pytest.mark.parametrize("size", [(40, 62), (41, 62), (40, 63), (41, 63)])
def test_mp4_has_every_frame_of_the_span_in_the_original_size(tmp_path: Path, size: tuple[int, int]):
    write_clip(explanation(size=size), tmp_path / "wave.mp4", video=_gray(size=size))
    frames, times = _decoded(tmp_path / "wave.mp4")
    height, width = size
    assert frames.shape == (10, height + height % 2, width + width % 2, 3)  # frames 2 to 11, sides made even
    np.testing.assert_allclose(times, np.arange(10) / 25, atol=1e-5)


def test_mp4_repeats_the_last_row_and_column_of_odd_frames(tmp_path: Path):
    item = explanation(size=(41, 63), box=(0, 0, 41, 63), map=np.zeros((3, 2, 4), dtype=np.float32))
    video = _gray(size=(41, 63))
    video[:, -1], video[:, :, -1] = 230, 20
    write_clip(item, tmp_path / "wave.mp4", video=video)
    frame = _decoded(tmp_path / "wave.mp4")[0][0].astype(int)
    assert np.abs(frame[-2:, :-3] - 230).max() < 12  # lossy
    assert np.abs(frame[:-3, -2:] - 20).max() < 12


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".MP4"])
def test_clip_is_strongest_where_and_when_the_map_is(tmp_path: Path, suffix: str):
    path = tmp_path / f"wave{suffix}"
    item = explanation(peak=(1, 0, 2), size=(80, 120), box=(8, 20, 64, 80))
    write_clip(item, path, video=_gray(size=(80, 120)))
    frames = _gif_frames(path) if suffix == ".gif" else _decoded(path)[0]
    counts = [len(_strongest(frame, tolerance=20)) for frame in frames]
    assert int(np.argmax(counts)) == 5 - 2
    places = _strongest(frames[3], tolerance=20)
    np.testing.assert_allclose(places.min(axis=0), [8, 20 + 40], atol=2)  # color has half the resolution in MP4
    np.testing.assert_allclose(places.max(axis=0), [8 + 31, 20 + 59], atol=2)


def _gif_frames(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        frames = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
        return np.stack(frames)


def test_relevance_between_frames_of_the_view_is_interpolated(tmp_path: Path):
    relevance = np.zeros((3, 2, 4), dtype=np.float32)
    relevance[2] = 1 / 8
    item = explanation(map=relevance, size=(64, 96), box=(0, 0, 64, 96))
    write_clip(item, tmp_path / "wave.mp4", video=_gray(size=(64, 96)))
    blue = _decoded(tmp_path / "wave.mp4")[0][..., 2].mean(axis=(1, 2))
    assert np.abs(blue[:4] - 128).max() < 3  # frames 2 to 5: nothing
    for step in range(7):  # frames 5 to 11
        strength = step / 6
        opacity = MAX_OPACITY * strength
        expected = (1 - opacity) * 128 + opacity * colors_of(np.array(strength))[2]
        assert blue[3 + step] == pytest.approx(expected, abs=5)  # lossy


def test_clip_shows_the_frames_of_the_file_upright_and_at_their_times(tmp_path: Path):
    video = write_video(tmp_path / "wave.mp4", num_frames=14, fps=Fraction(30000, 1001))
    with open_reader(video) as reader:
        times, pixels = reader.times, reader.read([2, 5, 11])
    item = explanation(pixels=pixels, seconds=times[[2, 5, 11]], box=(0, 0, 48, 80), map=_nothing())
    write_clip(item, tmp_path / "out.mp4", video=video)
    frames, found = _decoded(tmp_path / "out.mp4")
    np.testing.assert_allclose(found, times[2:12] - times[2], atol=1e-5)
    assert _numbers(frames) == list(range(2, 12))


def test_rotated_video_is_written_upright(tmp_path: Path):
    stored = np.stack([np.rot90(draw_frame(index)) for index in range(12)])  # by a quarter turn counterclockwise
    video = write_timed(tmp_path / "wave.mp4", range(0, 480, 40), frames=stored)
    set_display_matrix(video, (0, 1, -1, 0))
    with open_reader(video) as reader:
        item = explanation(pixels=reader.read([2, 5, 11]), box=(0, 0, 48, 80), map=_nothing())
    write_clip(item, tmp_path / "out.mp4", video=str(video))
    frames, _ = _decoded(tmp_path / "out.mp4")
    assert _numbers(frames) == list(range(2, 12))


def test_variable_frame_rate_is_kept(tmp_path: Path):
    times_ms = [0, 40, 80, 400, 440, 480, 1600, 1640, 1680, 1733, 1760, 3600, 3640]
    video = write_video(tmp_path / "wave.mp4", num_frames=13, times_ms=times_ms)
    with open_reader(video) as reader:
        pixels, times = reader.read([2, 5, 11]), reader.times
    item = explanation(pixels=pixels, seconds=times[[2, 5, 11]], box=(0, 0, 48, 80))
    write_clip(item, tmp_path / "out.mp4", video=video)
    np.testing.assert_allclose(_decoded(tmp_path / "out.mp4")[1], times[2:12] - times[2], atol=1e-5)


def _nothing() -> np.ndarray:
    return np.zeros((3, 2, 4), dtype=np.float32)


def _numbers(frames: np.ndarray) -> list[int]:
    """Numbers of test frames in muted color, with their full color restored."""
    gray = frames @ np.array([0.299, 0.587, 0.114])
    full = (frames - 0.65 * gray[..., None]) / 0.35
    return frame_indices(np.clip(full, 0, 255).astype(np.uint8))


def test_gif_has_every_frame_and_the_time_of_the_video(tmp_path: Path):
    write_clip(explanation(), tmp_path / "wave.gif", video=torch.from_numpy(_gray()))
    with Image.open(tmp_path / "wave.gif") as image:
        assert image.size == (62, 40)
        assert image.n_frames == 10
        assert image.info["loop"] == 0
        durations = []
        for number in range(image.n_frames):
            image.seek(number)
            durations.append(image.info["duration"])
    assert durations == [40] * 10


def test_gif_of_a_long_and_large_video_is_limited(tmp_path: Path):
    frames = np.array([0, 200, 401])
    video = _gray(402, size=(6, 600))
    item = explanation(frames=frames, seconds=frames / 100, pixels=video[frames], box=(0, 0, 6, 600))
    write_clip(item, tmp_path / "wave.gif", video=video)
    with Image.open(tmp_path / "wave.gif") as image:
        assert image.size == (480, 5)
        assert image.n_frames == 134  # every third
        total = 0
        for number in range(image.n_frames):
            image.seek(number)
            total += image.info["duration"]
    assert total == pytest.approx(4020, abs=10)


def test_view_of_one_frame_is_a_clip_of_one_frame(tmp_path: Path):
    one = {"map": np.ones((1, 2, 4), dtype=np.float32) / 8, "frames": np.array([3]), "seconds": np.array([0.12])}
    item = explanation(**one, pixels=_gray(1))
    for name in ("wave.mp4", "wave.gif"):
        write_clip(item, tmp_path / name, video=_gray())
    assert len(_decoded(tmp_path / "wave.mp4")[0]) == 1
    with Image.open(tmp_path / "wave.gif") as image:
        assert image.n_frames == 1
    write_strip(item, tmp_path / "wave.png")
    write_curve(item, tmp_path / "wave.svg")
    ET.parse(tmp_path / "wave.svg")


def test_view_that_repeats_frames_is_a_clip_without_repeats(tmp_path: Path):
    frames = np.array([0, 0, 1])
    item = explanation(frames=frames, seconds=frames / 25)
    write_clip(item, tmp_path / "wave.mp4", video=_gray(2))
    assert len(_decoded(tmp_path / "wave.mp4")[0]) == 2


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (_gray(size=(40, 64)), "the video has frames of 40x64 pixels, the explained one of 40x62: pass the video that"),
        (_gray(11), "the video has 11 frames, the explanation needs frame 11: pass the video that was explained"),
        (np.zeros((3, 4)), "are not a video"),
    ],
)
def test_another_video_is_refused_and_nothing_is_written(tmp_path: Path, video: Any, message: str):
    with pytest.raises(DataError, match=re.escape(message)):
        write_clip(explanation(), tmp_path / "wave.mp4", video=video)
    assert not list(tmp_path.iterdir())


def test_missing_video_is_refused(tmp_path: Path):
    with pytest.raises(DecodeError, match=r"none\.mp4"):
        write_clip(explanation(), tmp_path / "wave.mp4", video=tmp_path / "none.mp4")
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"wave\.avi: a clip is written as \.mp4 or \.gif"):
        write_clip(explanation(), tmp_path / "wave.avi", video=_gray())


def _clip(item: Explanation, path: Path) -> None:
    write_clip(item, path, video=_gray())


@pytest.mark.parametrize(("name", "write"), [("w.png", write_strip), ("w.svg", write_curve), ("w.mp4", _clip)])
def test_refused_disk_is_one_error_that_names_the_file(tmp_path: Path, name: str, write: Any):
    with pytest.raises(TimeSformerError, match=rf"nowhere/{re.escape(name)}: cannot be written: No such file"):
        write(explanation(), tmp_path / "nowhere" / name)


def test_files_appear_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "wave.mp4").write_text("the old one")

    def fail(*_: Any, **__: Any) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("timesformer.explanation.render.overlay", fail)
    with pytest.raises(KeyboardInterrupt):
        write_clip(explanation(), tmp_path / "wave.mp4", video=_gray())
    assert [path.name for path in tmp_path.iterdir()] == ["wave.mp4"]
    assert (tmp_path / "wave.mp4").read_text() == "the old one"


def test_curve_has_a_dot_for_every_frame_at_its_time(tmp_path: Path):
    item = explanation()
    write_curve(item, tmp_path / "curve.svg")
    root = ET.parse(tmp_path / "curve.svg").getroot()
    dots = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in root.iter(f"{_SVG}circle")]
    x, y = np.array(dots).T
    np.testing.assert_allclose((x - x[0]) / (x[-1] - x[0]), (item.seconds - 0.08) / 0.36, atol=1e-3)
    bottom = 260 - 46
    np.testing.assert_allclose((bottom - y) / (bottom - y[1]), item.curve / item.curve[1], atol=1e-2)  # 0.1 pixel
    texts = {text.text for text in root.iter(f"{_SVG}text")}
    assert {"wave, 93.1 %", "equal share", "0.1 s", "20 %"} <= texts


def test_curve_of_frames_out_of_order_runs_from_left_to_right():
    frames = np.array([9, 1, 4])
    shape = plot(explanation(frames=frames, seconds=frames / 25), left=0, top=0, right=80, bottom=50)
    assert [x for x, _ in shape.points] == pytest.approx([0, 30, 80])


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 1, 4, [0, 0.5, 1]),
        (0.08, 0.44, 8, [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]),
        (0, 0.162, 4, [0, 0.05, 0.1, 0.15]),
        (3, 7200, 8, [1000, 2000, 3000, 4000, 5000, 6000, 7000]),
        (2.5, 2.5, 8, [2.5]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, most: int, expected: list[float]):
    assert ticks(low, high, most=most) == expected


def test_captions_name_class_method_and_file():
    assert headline(explanation()) == "wave, 93.1 %"
    assert headline(explanation(method="rollout", target=None)) == "predicted: wave, 93.1 %"
    assert (
        details(explanation())
        == "gradient times attention, for this class  |  12 % stays in the class token  |  wave.mp4"
    )
    assert details(explanation(method="occlusion", cls_fraction=None, path="")) == "occlusion, for this class"
    assert details(explanation(method="rollout", path="")).startswith("attention rollout, for no class in particular")
    assert [percent(value) for value in (0, 0.00123, 0.0456, 1)] == ["0 %", "0.12 %", "4.6 %", "100 %"]
