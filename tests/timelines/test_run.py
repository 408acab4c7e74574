import io
import os
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.config.thresholds import Thresholds
from timesformer.data.clips.dataset import read_eval_views
from timesformer.data.clips.transforms import eval_views, to_floats
from timesformer.data.video.feed import Clock, FrameGap, TimedFrame
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment
from timesformer.data.video.sequential import open_feed
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.inference.predictor import Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.timelines.decision import decide_again
from timesformer.timelines.frame_views import clip_views, frame_views
from timesformer.timelines.reading import WindowReader
from timesformer.timelines.run import timeline
from timesformer.timelines.timeline import Gap
from timesformer.timelines.window_logits import SharedFrames, logits_of_windows
from timesformer.timelines.windows import Windows, plan_windows
from tiny import SCHEME_NAMES, random_model, tiny_config
from videos import write_frames, write_timed, write_video

LABELS = ("walk", "background", "wave", "clap", "sit", "jump", "turn")
DENSE = ClipConfig(frame_stride=8, num_crops=1)
CLIPS = {
    "dense": DENSE,
    "three crops": ClipConfig(frame_stride=8, num_crops=3),
    "bgr": ClipConfig(frame_stride=8, num_crops=1, channel_order="bgr"),
    "times as channels": ClipConfig(frame_stride=8, num_crops=1, channel_order="time"),
    "background removed": ClipConfig(frame_stride=8, num_crops=1, background="remove"),
    "differences": ClipConfig(frame_stride=8, num_crops=3, background="difference"),
    "times of differences": ClipConfig(frame_stride=8, num_crops=1, channel_order="time", background="difference"),
    "what moves": ClipConfig(frame_stride=8, num_crops=1, region="motion", min_region=0.4),
    "times of what moves": ClipConfig(frame_stride=8, num_crops=1, region="motion", channel_order="time"),
    "whole clip": ClipConfig(num_crops=1, sampling="uniform", channel_order="time", background="remove"),
}


def model_of(clip=DENSE, scheme="divided_space_time", **info):
    info = ModelInfo(clip=clip, labels=LABELS, clip_seconds=0.8, **info)
    return random_model(tiny_config(scheme), info=info)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Three seconds at 25 frames a second."""
    options = {"movflags": "faststart"}
    return write_video(
        tmp_path_factory.mktemp("video") / "v.mp4", num_frames=75, num_b_frames=2, format_options=options
    )


class Pipe(io.RawIOBase):
    def __init__(self, path):
        super().__init__()
        self._file = io.BytesIO(path.read_bytes())

    def readable(self):
        return True

    def seekable(self):
        return False

    def readinto(self, buffer):
        data = self._file.read(min(len(buffer), 1000))
        buffer[: len(data)] = data
        return len(data)


class Listed:
    """A feed of given items, whose frames are gray; counts conversions."""

    path = "listed"
    num_decoded = 0

    def __init__(self, items):
        self._items = items
        self.converted = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def clock(self):
        return Clock(Fraction(1, 1000))

    def size(self):
        return (24, 40)

    def sha256(self):
        return ""

    def __iter__(self):
        for item in self._items:
            if isinstance(item, tuple) and not isinstance(item, FrameGap):
                number, time = item
                yield TimedFrame(number, time, lambda number=number: self._pixels(number))
            else:
                yield item

    def _pixels(self, number):
        self.converted.append(number)
        return np.full((24, 40, 3), number % 256, dtype=np.uint8)


PER_FRAME = [clip for clip in CLIPS.values() if clip.region == "frame" and clip.background != "difference"]


@pytest.mark.parametrize("clip", PER_FRAME)
def test_a_clip_of_single_frames_is_the_clip_of_all_frames(clip):
    frames = np.random.default_rng(0).integers(0, 256, (6, 48, 80, 3), dtype=np.uint8)
    parts = [frame_views(frame, clip, image_size=(8, 20)) for frame in frames]
    assert torch.equal(clip_views(parts, clip), eval_views(frames, clip, image_size=(8, 20)))


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_an_interior_window_is_the_clip_of_a_segment_cut_there(clip, video):
    config = tiny_config()
    windows = Windows(0.8, 0.28)
    with open_feed(video) as feed:
        read = [*WindowReader(feed, windows, config=config, clip=clip).each()]
    compared = 0
    for each in read:
        start, end = each.window.center - 0.4, each.window.center + 0.4
        if start >= 0 and end <= 3:
            segment = Segment(start - 1e-6, end - 1e-6)
            expected, _ = read_eval_views(open_reader(video, segment=segment), config, clip)
            found = clip_views([each.views[number] for number in each.window.frames], clip)
            torch.testing.assert_close(to_floats(found, clip), expected, rtol=0, atol=0)
            compared += 1
    assert compared == 8


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_every_frame_is_decoded_once_and_converted_at_most_once(clip, video):
    with open_feed(video) as feed:
        for _ in WindowReader(feed, Windows(0.8, 0.1), config=tiny_config(), clip=clip).each():
            pass
        assert feed.num_decoded == 75
    listed = Listed([(n, n / 25) for n in range(200)])
    reader = WindowReader(listed, Windows(0.8, 0.1), config=tiny_config(), clip=clip)
    most = 0
    for window in reader.windows():
        most = max(most, len(reader._kept))
        assert window.views.keys() == set(window.window.frames)
    assert len(listed.converted) == len(set(listed.converted))
    # no more than the frames of the windows that overlap
    assert most <= 10 * 3 * clip.frames_per_channel_group + 1


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_curves_are_the_triangle_mean_of_predictions_of_the_windows(scheme, video):
    model = model_of(scheme=scheme)
    windows = plan_windows(model.config, model.info)
    with open_feed(video) as feed:
        read = [*WindowReader(feed, windows, config=model.config, clip=DENSE).each()]
    clips = torch.cat([clip_views([each.views[n] for n in each.window.frames], DENSE) for each in read])
    with torch.no_grad():
        logs = model(to_floats(clips, DENSE)).log_softmax(dim=1).double().numpy()
    expected = []
    for j in range(len(logs)):
        weights = {i: 1 - abs(i - j) / 2 for i in (j - 1, j, j + 1) if 0 <= i < len(logs)}
        mean = sum(weight * logs[i] for i, weight in weights.items()) / sum(weights.values())
        expected.append(np.exp(mean) / np.exp(mean).sum())
    found = timeline(model, video, device="cpu")
    assert found.curves is not None
    np.testing.assert_allclose(found.curves.probabilities, np.stack(expected), atol=2e-6)
    np.testing.assert_allclose(found.curves.times, 0.2 * np.arange(15))


@pytest.mark.parametrize("clip", [DENSE, CLIPS["three crops"], CLIPS["times as channels"]])
def test_frames_that_windows_share_are_computed_once_where_frames_meet_last(clip, video):
    model = model_of(clip, scheme="space_only")
    predictor = Predictor(model, batch_size=4)
    compute = logits_of_windows(predictor)
    assert isinstance(compute, SharedFrames)
    with open_feed(video) as feed:
        read = [*WindowReader(feed, Windows(0.8, 0.04), config=model.config, clip=clip).each()]
    found = torch.cat([compute(read[i : i + 4]) for i in range(0, len(read), 4)])
    with torch.no_grad():
        clips = [clip_views([each.views[n] for n in each.window.frames], clip) for each in read]
        expected = torch.stack([model(to_floats(each, clip)) for each in clips])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    groups = {each.window.frames[i : i + clip.frames_per_channel_group] for each in read
              for i in range(0, len(each.window.frames), clip.frames_per_channel_group)}  # fmt: skip
    assert compute.num_computed == len(groups) < 3 * len(read)


@pytest.mark.parametrize(
    "change",
    [{"clip": CLIPS["background removed"]}, {"clip": CLIPS["what moves"]}, {"scheme": "divided_space_time"}],
)
def test_nothing_is_shared_where_a_frame_depends_on_its_window(change):
    model = model_of(**{"scheme": "space_only", **change})
    assert not isinstance(logits_of_windows(Predictor(model)), SharedFrames)
    assert not isinstance(logits_of_windows(Predictor(model, fast=False)), SharedFrames)


@pytest.mark.parametrize("clip", [DENSE, CLIPS["whole clip"]])
@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_a_pipe_gives_the_timeline_of_the_file_bit_for_bit(kind, clip, tmp_path):
    options = {"movflags": "faststart"} if kind == "mp4" else {}
    path = write_video(tmp_path / f"v.{kind}", num_frames=70, num_b_frames=3, fps=30, format_options=options)
    model = model_of(clip)
    found, piped = timeline(model, path), timeline(model, Pipe(path))
    assert found.source.path == str(path)
    assert piped.source.path == "-"
    assert replace(piped, source=replace(piped.source, path=str(path))) == found
    assert found.curves.probabilities.tobytes() == piped.curves.probabilities.tobytes()
    assert found.curves.times.tobytes() == piped.curves.times.tobytes()
    with path.open("rb") as file:
        assert timeline(model, file).segments == found.segments


def test_the_batch_size_changes_nothing_but_rounding(video):
    model = model_of()
    one, many = timeline(model, video, batch_size=1), timeline(model, video, batch_size=64)
    np.testing.assert_allclose(one.curves.probabilities, many.curves.probabilities, atol=1e-6)


def test_a_timeline_tells_its_source_its_model_and_its_settings(video):
    model = model_of(thresholds=Thresholds(min_on=0.1, per_class={"wave": {"min_on": 0.2}}))
    found = timeline(model, video)
    with open_reader(video) as reader:
        info = reader.info
    source = found.source
    assert (source.num_frames, source.fps, source.height, source.width) == (75, info.fps, info.height, info.width)
    assert (source.duration, source.is_variable, len(source.sha256)) == (pytest.approx(3.0), False, 64)
    assert (found.window, found.stride, found.classes) == (0.8, 0.2, LABELS)
    assert found.model == {"sha256": weights_sha256(model), "scheme": "divided_space_time"}
    assert found.settings == {
        "mode": "exclusive", "onset": 0.6, "offset": 0.4, "min_on": 0.1, "min_off": 0.5,
        "per_class": {"wave": {"min_on": 0.2}},
    }  # fmt: skip
    assert found.gaps == ()
    assert weights_sha256(model) != weights_sha256(random_model(model.config, seed=1))


def test_overrides_of_a_model_that_is_loaded_are_refused(video):
    with pytest.raises(ConfigError, match=r"^num_frames: overrides apply to weights that are loaded, not to a model$"):
        timeline(model_of(), video, num_frames=4)


@pytest.mark.parametrize(("window", "shortest"), [(None, 0.4), (0.5, 0.25)])
def test_the_shortest_segment_is_half_a_window_if_nobody_says_otherwise(video, window: float | None, shortest: float):
    settings = timeline(model_of(), video, window=window).settings
    assert (settings["min_on"], settings["min_off"]) == (shortest, shortest)
    stored = timeline(model_of(thresholds=Thresholds()), video, window=window).settings
    assert (stored["min_on"], stored["min_off"]) == (0.5, 0.5)


def test_segments_cover_the_video_and_carry_the_frames_that_they_show(video):
    model = model_of()
    found = timeline(model, video, min_on=0)
    assert found.segments[0].start_frame == round(found.segments[0].start * 25 + 0.49)
    for segment in found.segments:
        assert segment.label == LABELS[segment.index]
        shown = [n for n in range(75) if segment.start <= n / 25 < segment.end]
        assert [segment.start_frame, segment.end_frame] == [shown[0], shown[-1] + 1]
        assert 0 < segment.score <= segment.peak <= 1


def test_other_thresholds_need_no_model_and_give_what_a_run_with_them_gives(video):
    model = model_of(thresholds=Thresholds(onset=0.3, offset=0.2, min_on=0.1, min_off=0.1))
    found = timeline(model, video)
    again = decide_again(found, mode="overlapping", onset=0.25, min_on={"wave": 0.3})
    run = timeline(model, video, mode="overlapping", onset=0.25, min_on={"wave": 0.3})
    assert again == run
    assert decide_again(found) == found
    assert run.settings["per_class"] == {"wave": {"min_on": 0.3}}


def test_gaps_part_the_timeline_and_are_told():
    items = [*((n, n / 25) for n in range(50)), FrameGap(2.0, 12.0, "the stream was cut")]
    items += [(n, 10 + n / 25) for n in range(50, 90)]
    items[70:70] = [FrameGap(12.8, 12.9, "frames that cannot be decoded: 2")]
    found = timeline(model_of(), Listed(items), min_on=0)
    assert found.gaps == (
        Gap(start=2.0, end=12.0, reason="the stream was cut"),
        Gap(start=12.8, end=12.9, reason="frames that cannot be decoded: 2"),
    )
    assert not [segment for segment in found.segments if segment.end > 2.0 and segment.start < 12.0]
    assert {segment.end for segment in found.segments} >= {2.0}
    assert {segment.start for segment in found.segments} >= {12.0}
    times = found.curves.times
    np.testing.assert_allclose(times, [*np.arange(10) * 0.2, *(12 + np.arange(8) * 0.2)])
    # the piece after the gap is answered as if it were a video by itself
    alone = timeline(model_of(), Listed([(n, n / 25) for n in range(40)]))
    assert found.source.duration == pytest.approx(13.6)
    assert alone.curves.probabilities.shape == (8, 7)


def test_a_variable_rate_is_told_and_followed(tmp_path):
    path = write_timed(tmp_path / "v.mkv", [0, 40, 80, 120, 160, 300, 340, 380, 500, 540, 700, 900, 940, 980, 1020])
    found = timeline(model_of(), path, window=0.5)
    assert found.source.is_variable
    assert found.segments[-1].end == pytest.approx(found.source.duration)
    assert (found.segments[0].start, found.segments[-1].end_frame) == (0.0, 15)


def test_a_folder_of_frames_has_a_timeline(tmp_path):
    found = timeline(model_of(), write_frames(tmp_path / "f", num_frames=40))
    assert (found.source.num_frames, found.source.fps, found.source.sha256) == (40, 30.0, "")


def test_progress_is_told_in_seconds(video):
    told = []
    timeline(model_of(), video, batch_size=4, on_progress=lambda done, length: told.append((done, length)))
    assert told == [pytest.approx((done, 3.0)) for done in (0.6, 1.4, 2.2, 2.8)]


def test_what_cannot_work_is_one_clear_error(tmp_path, video):
    model = model_of()
    with pytest.raises(
        DataError, match=rf"^{video}: lasts 3 s, less than one window of 4 s: pass a shorter window=\.\.\. "
    ):
        timeline(model, video, window=4)
    with pytest.raises(ConfigError, match=r"^stride=1 must be greater than 0 and at most the window of 0.8 seconds$"):
        timeline(model, video, stride=1)
    with pytest.raises(ConfigError, match=r"pass their length in seconds as window=\.\.\. \(--window\)$"):
        timeline(random_model(tiny_config(), info=ModelInfo(clip=CLIPS["whole clip"])), video)
    with pytest.raises(ConfigError, match=r"^mode='both' is not one of 'exclusive', 'overlapping'$"):
        timeline(model, video, mode="both")
    with pytest.raises(ConfigError, match=r"^onset has no effect on mode='exclusive', only on 'overlapping'$"):
        timeline(model, video, onset=0.5)
    unnamed = random_model(tiny_config())
    with pytest.raises(
        ConfigError, match=r"^min_off has no effect on mode='exclusive' here: the model has no class 'background'"
    ):
        timeline(unnamed, video, min_off=0.5)
    with pytest.raises(ConfigError, match=r"has no class 'wafe', only 7 others; did you mean 'wave'?"):
        timeline(model, video, min_on={"wafe": 1.0})
    with pytest.raises(ConfigError, match=r"^onset=1.5 must be greater than 0, at most 1$"):
        timeline(model, video, mode="overlapping", onset=1.5)
    with pytest.raises(
        ConfigError, match=r"^offset=0.9 must be at most onset=0.6: a class would end before it starts$"
    ):
        timeline(model, video, mode="overlapping", offset=0.9)
    with pytest.raises(DecodeError, match=r"No such file"):
        timeline(model, tmp_path / "missing.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DecodeError, match=r"not a video"):
        timeline(model, tmp_path / "text.mp4")
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(TimeSformerError, match=r"the model outputs nan or inf"):
        timeline(model, video)


def test_reading_stops_when_the_model_fails(video):
    model = model_of()
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(TimeSformerError, match=r"nan or inf"):
            timeline(model, video, stride=0.01, batch_size=1)
    assert len(os.listdir("/proc/self/fd")) <= before


def brightness_model(clip, num_frames):
    """A model whose odds of `bright` against `dark` follow the share of bright patches minus that of dark ones."""
    config = tiny_config("joint_space_time", num_frames=num_frames, depth=1, num_classes=2, position_embedding="none")
    model = random_model(config, info=ModelInfo(clip=clip, labels=("dark", "bright"), clip_seconds=0.8))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embedding.patch.weight[0], model.embedding.patch.weight[1] = 1.0, -1.0
        (block,) = model.blocks
        (step,) = block.steps.values()
        step.norm.weight.fill_(1.0)
        step.attention.qkv.weight[-24:] = torch.eye(24)
        step.attention.proj.weight.copy_(torch.eye(24))
        model.norm.weight.fill_(0.0)
        model.norm.bias.zero_()
    return _read_by_norm(model)


def _read_by_norm(model):
    with torch.no_grad():
        model.norm = torch.nn.LayerNorm(24, eps=10.0)  # so that sizes survive, not only signs
        model.head.weight[1, 0], model.head.weight[0, 0] = 4.0, -4.0
    return model


@pytest.mark.parametrize("clip", [DENSE, ClipConfig(num_crops=1, sampling="uniform")], ids=["dense", "uniform"])
@pytest.mark.parametrize("num_frames", [3, 8])
def test_boundaries_lie_where_the_video_changes_without_bias(clip, num_frames):
    model = brightness_model(clip, num_frames)
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(12):
        changes = np.cumsum(generator.integers(40, 70, size=4))  # frames at which dark and bright change
        feed = Listed([(n, n / 25) for n in range(changes[-1])])
        feed._pixels = lambda number, changes=changes: np.full(
            (24, 40, 3), 255 * (np.searchsorted(changes, number, side="right") % 2), dtype=np.uint8
        )
        found = timeline(model, feed, window=0.96, min_on=0)
        assert [segment.label for segment in found.segments] == ["dark", "bright", "dark", "bright"]
        errors += [segment.end - change / 25 for segment, change in zip(found.segments, changes, strict=True)]
        assert errors.pop() == pytest.approx(0)
    # the frames of a window lie up to window / T apart
    assert np.abs(errors).max() <= 0.96 / num_frames
    assert abs(np.mean(errors)) < 0.05
