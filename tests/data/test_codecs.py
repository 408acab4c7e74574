"""Which codecs are decoded: the usual ones, others only where they are asked for, and no decoder runs before that."""

import pickle
import tarfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from timesformer.config.run import DataConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.check import cache as check_cache
from timesformer.data.check.data_check import check_dataset
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.check.report import film_strip, write_check_page
from timesformer.data.check.scan import scan_here
from timesformer.data.check.worker_process import scan_apart
from timesformer.data.clips.dataset import EvalViews, TrainClips, read_eval_views
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.synthetic.reversed import write_reversed
from timesformer.data.video import container
from timesformer.data.video.codecs import DEFAULT_CODECS, _video_decoders, allowed_codecs, decoder_names
from timesformer.data.video.file_reader import VideoReader
from timesformer.data.video.reader import open_reader, probe, read_frames
from timesformer.errors import CodecError, ConfigError, DecodeError
from videos import draw_frame, frame_indices, write_frames, write_video

NEWER = DEFAULT_CODECS - {*_video_decoders().values()}
"""Usual codecs that this FFmpeg is too old for."""
LIBRARIES = {"libdav1d", "libaom-av1", "libvpx", "libvpx-vp9"}
MODEL = ModelConfig(num_frames=3, image_size=(16, 24), patch_size=8)
CLIP = ClipConfig(sampling="segment", num_crops=1)


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 6 frames in MagicYUV, which keeps every bit of RGB, under a name that says nothing of it."""
    return write_rare(tmp_path_factory.mktemp("rare") / "video.avi").rename(
        tmp_path_factory.mktemp("named") / "video.mp4"
    )


def write_rare(path: Path, *, num_frames: int = 6) -> Path:
    return write_video(path, num_frames=num_frames, codec="magicyuv", pix_fmt="gbrp")


# --- the check ---


@pytest.mark.parametrize(
    "use", [probe, lambda path: read_frames(path, [0]), lambda path: read_eval_views(path, MODEL, CLIP)]
)
def test_a_codec_that_is_not_usual_is_one_error_that_names_file_codec_and_option(rare, use):
    with pytest.raises(CodecError, match=r"codec magicyuv .* pass allow_codecs=.*--allow-codec magicyuv") as caught:
        use(rare)
    assert str(caught.value).startswith(f"{rare}: ")
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, DecodeError)


def test_the_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(CodecError("a.mp4: its codec", codec="magicyuv")))
    assert (str(error), error.codec) == ("a.mp4: its codec", "magicyuv")


@pytest.mark.parametrize("codecs", [("magicyuv",), ["magicyuv"], {"magicyuv", "qoi"}])
def test_a_codec_that_is_asked_for_is_decoded(rare, codecs):
    assert probe(rare, allow_codecs=codecs).num_frames == 6
    frames = read_frames(rare, [4, 0, 4], allow_codecs=codecs)
    np.testing.assert_array_equal(frames, [draw_frame(index) for index in (4, 0, 4)])


def test_another_codec_that_is_asked_for_does_not_let_it_in(rare):
    with pytest.raises(CodecError, match="codec magicyuv"):
        probe(rare, allow_codecs=["qoi"])


def test_a_video_in_a_tar_file_is_checked_too(rare, tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(rare, "a.mp4")
    with pytest.raises(CodecError, match=r"s\.tar/a\.mp4: the codec magicyuv"):
        probe(tmp_path / "s.tar/a.mp4")
    assert probe(tmp_path / "s.tar/a.mp4", allow_codecs=["magicyuv"]).num_frames == 6


@pytest.mark.parametrize("name", ["video.avi", "video.nut"])
def test_no_decoder_sees_a_file_before_its_codec_is_checked(tmp_path, name):
    path = write_rare(tmp_path / name)
    with av.open(path) as file:  # without a list, FFmpeg decodes a frame to find the kind of pixels
        assert file.streams.video[0].codec_context.pix_fmt == "gbrp"
    with container._open_file(path, DEFAULT_CODECS) as file:
        assert file.streams.video[0].codec_context.pix_fmt is None
    with container._open_file(path, allowed_codecs(["magicyuv"])) as file:
        assert file.streams.video[0].codec_context.pix_fmt == "gbrp"


def test_the_reader_does_not_decode_what_it_refuses(rare, monkeypatch):
    monkeypatch.setattr("timesformer.data.video.file_reader.decode_or_skip", lambda *_: pytest.fail("decoded"))
    with pytest.raises(CodecError), open_reader(rare):
        pass


# --- the list ---

USUAL: list[tuple[str, dict[str, Any]]] = [
    ("a.mp4", {"codec": "libx264"}),
    ("a.mp4", {"codec": "libx265"}),
    ("a.mp4", {"codec": "libsvtav1", "height": 64, "width": 128}),
    ("a.webm", {"codec": "libvpx"}),
    ("a.webm", {"codec": "libvpx-vp9"}),
    ("a.avi", {"codec": "mpeg4"}),
    ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    ("a.avi", {"codec": "msmpeg4"}),
    ("a.avi", {"codec": "msmpeg4v2"}),
    ("a.avi", {"codec": "rawvideo", "pix_fmt": "bgr24"}),
    ("a.avi", {"codec": "huffyuv", "pix_fmt": "rgb24"}),
    ("a.avi", {"codec": "utvideo", "pix_fmt": "gbrp"}),
    ("a.mkv", {"codec": "ffv1"}),
    ("a.avi", {"codec": "ffvhuff"}),
    ("a.mov", {"codec": "png", "pix_fmt": "rgb24"}),
    ("a.mpg", {"codec": "mpeg1video"}),
    ("a.vob", {"codec": "mpeg2video"}),
    ("a.mxf", {"codec": "mpeg2video"}),
    ("a.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    ("a.mov", {"codec": "qtrle", "pix_fmt": "rgb24"}),
    ("a.wmv", {"codec": "wmv1"}),
    ("a.wmv", {"codec": "wmv2"}),
    ("a.flv", {"codec": "flv"}),
    ("a.gif", {"codec": "gif", "pix_fmt": "bgr8"}),
    ("a.apng", {"codec": "apng", "pix_fmt": "rgb24"}),
    ("a.3gp", {"codec": "h263", "height": 144, "width": 176}),
    ("a.y4m", {"codec": "rawvideo"}),
    ("a.rm", {"codec": "rv20", "height": 48, "width": 80}),
]


@pytest.mark.parametrize(("name", "options"), USUAL, ids=[f"{options['codec']}-{name}" for name, options in USUAL])
def test_common_codecs_are_decoded_by_default(tmp_path, name, options):
    assert probe(write_video(tmp_path / name, num_frames=5, **options)).num_frames == 5


def test_every_name_of_the_list_is_a_codec_that_can_be_decoded():
    codecs = [av.Codec(name, "r") for name in DEFAULT_CODECS - NEWER]
    assert {codec.canonical_name for codec in codecs} == DEFAULT_CODECS - NEWER
    assert {codec.type for codec in codecs} == {"video"}
    assert {"webp_anim"} >= NEWER


def test_what_ffmpeg_decodes_by_itself_has_the_same_list():
    names = decoder_names(DEFAULT_CODECS).split(",")
    assert {av.Codec(name, "r").canonical_name for name in {*names} - NEWER - LIBRARIES} == DEFAULT_CODECS - NEWER
    assert {"libdav1d", "flv", "msmpeg4"} <= {*names}  # decoders with other names than their codecs
    assert decoder_names(allowed_codecs(["cscd"])).split(",") == sorted([*names, "cscd", "camstudio"])


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["magicyuf"], "'magicyuf' is not a video codec that FFmpeg decodes; did you mean 'magicyuv'"),
        (["H264"], "'H264' is not a video codec that FFmpeg decodes; did you mean 'h264'"),
        (["qoi", "mp3"], "'mp3' is not a video codec"),
        (["libx264"], "'libx264' is not a video codec"),
        ([""], "'' is not a video codec"),
        ("magicyuv", r"allow_codecs='magicyuv' must be a list of names, such as \('magicyuv',\)"),
    ],
)
def test_an_unknown_name_is_refused_before_a_file_is_opened(given, reason):
    for use in (
        allowed_codecs,
        lambda names: open_reader("missing.mp4", allow_codecs=names),
        lambda names: next(scan_here([Path("missing.mp4")], allow_codecs=names)),
    ):
        with pytest.raises(ConfigError, match=reason):
            use(given)


def test_the_name_of_a_decoder_stands_for_its_codec():
    assert allowed_codecs(["camstudio"]) == allowed_codecs(["cscd"]) == DEFAULT_CODECS | {"cscd"}
    assert allowed_codecs(["libdav1d"]) == allowed_codecs(["h264"]) == DEFAULT_CODECS


# --- everywhere that opens videos ---


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_processes_that_decode_follow_the_list(rare, context):
    manifest = Manifest((Sample(rare, 0),), ("one",))
    data = DataConfig(train="unused", allow_codecs=("magicyuv",))
    clips = TrainClips(manifest, model=MODEL, clip=CLIP, data=data, seed=0)
    views = EvalViews(manifest, model=MODEL, clip=CLIP, allow_codecs=["magicyuv"])
    for dataset, num_clips in ((clips, 1), (views, 1)):
        loader = DataLoader(
            dataset, batch_size=None, num_workers=1, multiprocessing_context=context, generator=torch.Generator()
        )
        (item,) = loader
        assert item[0].shape == (num_clips, 3, 3, 16, 24)


def test_clips_in_memory_follow_the_list(rare):
    manifest = Manifest((Sample(rare, 0),), ("one",))
    for codecs, refused in (((), True), (("magicyuv",), False)):
        data = DataConfig(train="unused", cache=True, on_decode_error="skip", allow_codecs=codecs)
        clips = TrainClips(manifest, model=MODEL, clip=CLIP, data=data, seed=0)
        clips.preload()
        if refused:
            with pytest.raises(DecodeError, match="codec magicyuv"):
                clips[0]
        else:
            assert clips[0][0].shape == (1, 3, 3, 16, 24)


NONE = Manifest((Sample(Path("missing.mp4"), 0),), ("one",))
OF_NOTHING = DataConfig(train="unused", allow_codecs=("nothing",))


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: TrainClips(NONE, model=MODEL, clip=CLIP, data=OF_NOTHING, seed=0),
        lambda folder: EvalViews(NONE, model=MODEL, clip=CLIP, allow_codecs=["nothing"]),
        lambda folder: VideoReader("missing.mp4", allow_codecs=["nothing"]),
        lambda folder: open_reader(write_frames(folder), allow_codecs=["nothing"]),
        lambda folder: check_dataset(write_frames(folder / "run" / "1").parent.parent, allow_codecs=["nothing"]),
    ],
    ids=["TrainClips", "EvalViews", "VideoReader", "open_reader", "check_dataset"],
)
def test_an_unknown_codec_is_refused_where_it_is_given(make, tmp_path):
    with pytest.raises(ConfigError, match="'nothing' is not a video codec"):
        make(tmp_path)


def test_videos_played_backwards_follow_the_list(rare, tmp_path):
    manifest = Manifest((Sample(rare, 0),), ("one",))
    with pytest.raises(CodecError, match="codec magicyuv"):
        write_reversed(manifest, tmp_path)
    copies = write_reversed(manifest, tmp_path, allow_codecs=["magicyuv"])
    assert frame_indices(read_frames(copies.samples[1].path, range(6))) == [5, 4, 3, 2, 1, 0]


# --- check ---


def test_a_scan_says_which_codec_and_refuses_in_the_same_words(rare):
    refused, found = fingerprint(rare), fingerprint(rare, allow_codecs=["magicyuv"])
    assert (refused.codec, refused.num_frames) == (found.codec, 0) == ("magicyuv", 0)
    assert refused.error.startswith("the codec magicyuv is rare")
    assert (found.error, found.num_frames, found.height) == ("", 6, 48)
    assert [
        (scan.error, scan.num_frames) for _, scan in scan_apart([rare], num_workers=1, allow_codecs=["magicyuv"])
    ] == [("", 6)]
    assert next(scan_apart([rare], num_workers=1))[1].error == refused.error


def test_a_check_remembers_what_it_found_under_any_list(tmp_path, monkeypatch):
    for name in ("run", "jump"):
        (tmp_path / "data" / name).mkdir(parents=True)
    usual = write_video(tmp_path / "data" / "run" / "usual.mp4")
    rare = write_rare(tmp_path / "data" / "jump" / "rare.avi", num_frames=11)
    decoded = []

    def scan_here(paths, **options):
        decoded.append([path.name for path in paths])
        return original(paths, **options)

    original = check_cache.scan_here
    monkeypatch.setattr(check_cache, "scan_here", scan_here)

    def unreadable(**options):
        check = check_dataset(tmp_path / "data", **options)
        return [finding.files for finding in check.findings if finding.kind == "unreadable"]

    assert unreadable() == unreadable() == [(rare,)]
    assert unreadable(allow_codecs=["magicyuv"]) == unreadable(allow_codecs=["magicyuv"]) == []
    assert unreadable() == [(rare,)]
    assert [sorted(names) for names in decoded] == [[rare.name, usual.name], [], [rare.name], [], [rare.name]]


def test_the_page_of_a_check_shows_what_was_allowed(tmp_path):
    (tmp_path / "data" / "run").mkdir(parents=True)
    rare = write_rare(tmp_path / "data" / "run" / "rare.avi", num_frames=3)
    assert film_strip(rare) is None
    check = check_dataset(tmp_path / "data", allow_codecs=["magicyuv"])
    assert [finding.kind for finding in check.findings] == ["too_short"]
    assert 'src="data:image/jpeg' in write_check_page(check, tmp_path / "page.html").read_text()
