"""Files that claim, or expand to, far more than they hold are refused in one line, before memory is allocated."""

import re
import resource
import tarfile
from pathlib import Path

import numpy as np
import pytest

import bombs
from bombs import GIB
from timesformer import bounds
from timesformer.config.class_names_file import read_class_names
from timesformer.config.io import read_config
from timesformer.config.schema import ModelConfig
from timesformer.data.check.scan import Scanner
from timesformer.data.manifest.rows import read_text
from timesformer.data.manifest.segments.elan import _parse
from timesformer.data.video import tar_member
from timesformer.data.video.reader import open_reader, probe, read_frames
from timesformer.data.video.sequential import open_feed
from timesformer.errors import ConfigError, DataError, DecodeError, ProcessError, WeightsError
from timesformer.isolation.child import Child
from timesformer.isolation.limits import Limits
from timesformer.isolation.processes import starter_of
from timesformer.timelines.curves_file import read_curves
from timesformer.timelines.json_file import read_timeline
from timesformer.weights.fields import read_json_object
from timesformer.weights.read import read_file
from videos import frame_index, write_frames, write_video


def read(path):
    with open_reader(path) as reader:
        reader.read([0])


def scan(path):
    error = Scanner().scan(path).error
    if error:
        raise DecodeError(error)


def follow(path):
    with open_feed(path) as feed:
        for frame in feed:
            frame.pixels()


READERS = [read, scan, follow]


@pytest.fixture(autouse=True)
def _spare():
    """Nothing here may grow the memory of this process by more than a tenth of what the files claim."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIB / 2 / 1024


# --- Frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", READERS)
@pytest.mark.parametrize("count", [5_000_000, 10**9, 2**32 - 1])
@pytest.mark.parametrize("make", [bombs.mp4_of_many_frames, bombs.fragment_of_many_frames])
def test_an_mp4_that_claims_too_many_frames_is_refused_before_it_is_opened(call, count, make, tmp_path):
    with pytest.raises(DecodeError, match=r"its index claims more than 4194304 frames; .* set TIMESFORMER_MAX_FRAMES"):
        call(make(tmp_path / "a.mp4", count))


def test_claims_of_several_tracks_and_fragments_are_added(tmp_path):
    path = bombs.mp4_of_many_frames(tmp_path / "a.mp4", 3_000_000)
    content = path.read_bytes()
    at = content.index(b"moov") - 4
    moov = content[at:]
    trak_at = moov.index(b"trak") - 4
    trak = moov[trak_at : trak_at + int.from_bytes(moov[trak_at : trak_at + 4], "big")]
    moov = (len(moov) + len(trak)).to_bytes(4, "big") + moov[4:trak_at] + trak + moov[trak_at:]
    path.write_bytes(content[:at] + moov)
    with pytest.raises(DecodeError, match="its index claims more than 4194304 frames"):
        probe(path)


def test_a_claim_in_a_tar_file_is_refused(tmp_path):
    path = bombs.mp4_of_many_frames(tmp_path / "a.mp4", 10**9)
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(path, "a.mp4")
    with pytest.raises(DecodeError, match=r"s\.tar/a\.mp4: its index claims more than 4194304 frames"):
        probe(tmp_path / "s.tar/a.mp4")


def test_sound_without_compression_may_have_more_samples(tmp_path):
    """A minute of it has more than a day of video has frames."""
    path = bombs.mp4_of_many_frames(tmp_path / "a.mp4", 5_000_000)
    content = path.read_bytes().replace(b"vide", b"soun")
    path.write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        probe(path)
    assert "its index claims" not in str(caught.value)


@pytest.mark.parametrize("call", [read, scan])
def test_the_number_of_frames_is_a_knob(call, tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mkv", num_frames=9)
    monkeypatch.setenv("TIMESFORMER_MAX_FRAMES", "8")
    with pytest.raises(DecodeError, match=r"more than 8 frames; if you trust it, set TIMESFORMER_MAX_FRAMES"):
        call(path)
    monkeypatch.setenv("TIMESFORMER_MAX_FRAMES", "9")
    call(path)


# --- Pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", READERS)
def test_a_header_of_too_large_frames_is_refused(call, tmp_path):
    for path in (
        bombs.video_of_large_frames(tmp_path / "a.mov", width=20000, height=10000),
        bombs.gif_of_large_frames(tmp_path / "a.gif", width=20000, height=10000),
    ):
        with pytest.raises(DecodeError, match=r"frames of 20000x10000 have more than 67108864 pixels; .*MAX_PIXELS"):
            call(path)


@pytest.mark.parametrize("call", READERS)
def test_a_size_that_ffmpeg_ignores_is_refused_too(call, tmp_path):
    with pytest.raises(DecodeError, match=r"(none|no frame) of its .* can be decoded"):
        call(bombs.video_of_large_frames(tmp_path / "a.mov", width=60000, height=60000))


def test_a_frame_that_is_larger_than_the_header_says_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setenv("TIMESFORMER_MAX_PIXELS", "1000000")
    path = bombs.video_that_grows(tmp_path / "a.avi", side=3100)
    assert Scanner().scan(path).num_damaged == 1
    frames = read_frames(path, [1, 2, 3])
    assert frames.shape == (3, 48, 80, 3)  # the frame before takes its place, as for any frame that is not decoded
    monkeypatch.setenv("TIMESFORMER_MAX_PIXELS", "9610000")
    assert Scanner().scan(path).num_damaged == 0


@pytest.mark.parametrize("call", READERS)
@pytest.mark.parametrize(
    ("side", "message"),
    [
        (9000, r"frames of 9000x9000 have more than 67108864 pixels; if you trust it, set TIMESFORMER_MAX_PIXELS"),
        (30000, r"cannot be read as a picture \(Image size \(900000000 pixels\) exceeds limit of 178956970"),
    ],
)
def test_a_picture_that_unpacks_to_too_many_pixels_is_refused(call, side, message, tmp_path):
    (tmp_path / "frames").mkdir()
    bombs.png_of(tmp_path / "frames/0001.png", width=side, height=side)
    with pytest.raises(DecodeError, match=message):
        call(tmp_path / "frames")


def test_the_number_of_pixels_is_a_knob(tmp_path, monkeypatch):
    frames, video = write_frames(tmp_path / "frames", num_frames=2), write_video(tmp_path / "a.mp4", num_frames=2)
    monkeypatch.setenv("TIMESFORMER_MAX_PIXELS", str(48 * 80 - 1))
    for path in (frames, video):
        with pytest.raises(DecodeError, match=r"frames of 80x48 have more than 3839 pixels"):
            read(path)
    monkeypatch.setenv("TIMESFORMER_MAX_PIXELS", str(48 * 80))
    for path in (frames, video):
        assert frame_index(read_frames(path, [1])[0]) == 1


@pytest.mark.parametrize("text", ["", "0", "-5", "many", "1e6", "٣"])
def test_a_knob_that_is_not_a_number_is_an_error(text, tmp_path, monkeypatch):
    monkeypatch.setenv("TIMESFORMER_MAX_FRAMES", text)
    with pytest.raises(ConfigError, match=rf"^TIMESFORMER_MAX_FRAMES={text} must be a positive whole number"):
        read(write_video(tmp_path / "a.mp4", num_frames=2))


@pytest.mark.parametrize("reader", ["frames", "sequence"])
def test_too_little_memory_is_never_taken_for_damage(reader, tmp_path, monkeypatch):
    """Otherwise other frames would silently take the place of those that need more."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    path = write_video(tmp_path / "a.mp4", num_frames=12, height=480, width=640, num_b_frames=2)
    outcomes = set()
    with starter_of("bounded_readers:open_reader_of") as starter:
        for mebibytes in (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 64):
            with Child(starter, setup=(reader,), limits=Limits(memory=mebibytes * 2**20)) as child:
                try:
                    outcomes.add(child.call(path))
                except DecodeError as error:
                    outcomes.add(re.search("more memory than|Cannot allocate|can be decoded", str(error))[0])
                except ProcessError as error:
                    outcomes.add(str(error)[:12])
    told = {"needed more ", "more memory than", "Cannot allocate", "can be decoded"}
    assert outcomes & told and outcomes - told == {tuple(range(12))}


# --- Tar files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("size", [2**33, 2**43])
@pytest.mark.parametrize("call", READERS)
def test_a_tar_member_that_claims_terabytes_is_refused(call, size, kind, tmp_path):
    shard = bombs.tar_with_claim(tmp_path / "s.tar", size=size, kind=kind)
    with pytest.raises(DecodeError, match=r"s\.tar: (not a tar file, or cut off|the tar file is damaged or cut off)"):
        call(shard / "a.mp4")


def test_a_tar_file_of_too_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_member, "MAX_TAR_MEMBERS", 3)
    path = write_video(tmp_path / "a.mp4", num_frames=2)
    for count in (3, 4):
        shard = tmp_path / f"{count}.tar"
        with tarfile.open(shard, "w") as tar:
            for number in range(count):
                tar.add(path, f"{number}.mp4")
    assert probe(tmp_path / "3.tar/2.mp4").num_frames == 2
    with pytest.raises(DecodeError, match=r"4\.tar: more than 3 files in a tar file"):
        probe(tmp_path / "4.tar/2.mp4")


# --- Weights and archives -------------------------------------------------------------------------------------------


def test_weights_that_unpack_to_far_more_than_they_hold_are_refused(tmp_path):
    path = bombs.pth_bomb(tmp_path / "a.pth", num_bytes=80_000_000)
    assert path.stat().st_size < 200_000
    with pytest.raises(WeightsError, match=r"a\.pth: \d+ bytes that unpack to 80\d+, more than 64 times as many"):
        read_file(path)


def test_weights_of_one_number_that_is_repeated_are_refused(tmp_path):
    path = bombs.pth_of_repeated(tmp_path / "a.pth", count=10**12)
    with pytest.raises(WeightsError, match=r"tensor patch_embed.proj.weight has 4000000000000 bytes, .* stores 4$"):
        read_file(path)


def test_an_old_pickle_that_claims_a_string_of_terabytes_is_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"\x80\x04\x8e" + (2**43).to_bytes(8, "little") + b"abc.")
    with pytest.raises(WeightsError, match=r"cannot be read as weights|refused"):
        read_file(tmp_path / "a.pth")


def test_safetensors_that_claim_a_long_header_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((2**31).to_bytes(8, "little") + b'{"a"' + bytes(5000))
    with pytest.raises(WeightsError, match="truncated: it has 5,012 of 2,147,483,656 bytes"):
        read_file(tmp_path / "a.safetensors")
    bombs.sparse_file(tmp_path / "b.safetensors", num_bytes=2 * GIB)
    with (tmp_path / "b.safetensors").open("r+b") as file:
        file.write((2**30).to_bytes(8, "little") + b'{"a"')
    with pytest.raises(WeightsError, match=r"(?i)header.?too.?large"):
        read_file(tmp_path / "b.safetensors")


def test_curves_that_unpack_to_far_more_than_they_hold_are_refused(tmp_path):
    path = bombs.npz_bomb(tmp_path / "curves.npz", timeline=np.array("{}"), times=np.zeros(10**7))
    with pytest.raises(DataError, match=r"\d+ bytes that unpack to 80\d+, more than 64 times as many"):
        read_curves(path)


def test_a_compressed_archive_of_plain_numbers_passes(tmp_path):
    path = bombs.npz_bomb(tmp_path / "a.npz", times=np.arange(10**6) / 7)
    bounds.check_expansion(path, 8 * 10**6, error=DataError)


# --- Text -----------------------------------------------------------------------------------------------------------

TEXTS = [
    (read_text, "a.csv", DataError, 2**30),
    (_parse, "a.eaf", DataError, 2**30),
    (read_timeline, "a.json", DataError, 2**26),
    (read_json_object, "a.json", WeightsError, 2**26),
    (lambda path: read_config(path, kind=ModelConfig), "a.toml", ConfigError, 2**26),
    (lambda path: read_class_names(path, num_classes=3), "a.txt", ConfigError, 2**26),
]


@pytest.mark.parametrize(("call", "name", "error", "most"), TEXTS)
def test_text_files_of_any_size_are_refused_before_they_are_read(call, name, error, most, tmp_path):
    path = bombs.sparse_file(tmp_path / name, num_bytes=2**40)
    with pytest.raises(error, match=rf"{name}: more than the {most} bytes that are read of such a file"):
        call(path)


@pytest.mark.parametrize(("call", "name", "error", "most"), TEXTS)
def test_devices_without_an_end_are_refused(call, name, error, most, tmp_path):
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(error, match=rf"{name}: a device, not a file"):
        call(tmp_path / name)


def test_a_pipe_is_read_up_to_the_bound(tmp_path):
    import os
    import threading

    path = tmp_path / "pipe"
    for content, expected in ((b"a" * 10, "a" * 10), (b"a" * 11, None)):
        os.mkfifo(path)
        writer = threading.Thread(target=path.write_bytes, args=(content,))
        writer.start()
        if expected is None:
            with pytest.raises(DataError, match="more than the 10 bytes"):
                bounds.read_bounded_text(path, most=10, error=DataError)
        else:
            assert bounds.read_bounded_text(path, most=10, error=DataError) == expected
        writer.join()
        path.unlink()


def test_text_is_read_as_before(tmp_path):
    path = Path(tmp_path, "a.txt")
    path.write_bytes("\ufeffä\r\nb\rc".encode())
    assert bounds.read_bounded_text(path, most=100, error=DataError) == path.read_text("utf-8-sig") == "ä\nb\nc"
