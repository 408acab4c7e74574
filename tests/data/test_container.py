"""Which files are opened, and what is said of the others."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from timesformer.data.check.scan import Scanner
from timesformer.data.video import container
from timesformer.data.video.reader import probe, read_frames
from timesformer.errors import DecodeError
from videos import cut_off, damage_packets, frame_indices, write_audio, write_video


def no_video(name: str, reason: str) -> Callable[[Callable[[Path], object]], Any]:
    return lambda write: pytest.param(name, write, reason, id=name.replace(".", "_"))


NO_VIDEOS = [
    no_video("missing.mp4", "No such file or directory")(lambda path: None),
    no_video("nul\0.mp4", "embedded null byte")(lambda path: None),
    no_video("folder.mp4", "a folder, not a video file")(lambda path: path.mkdir()),
    no_video("pipe.mp4", "a device or pipe, not a video file")(lambda path: os.mkfifo(path)),
    no_video("empty.mp4", "an empty file, not a video")(lambda path: path.touch()),
    no_video("text.mp4", "not a video, or cut off before its index")(lambda path: path.write_text("frames " * 500)),
    no_video("text.txt", "not a video, or cut off before its index")(lambda path: path.write_text("frames " * 500)),
    no_video("text.bin", "not a video, or cut off before its index")(lambda path: path.write_text("frames " * 500)),
    no_video("garbage.avi", "not a video, or cut off before its index")(
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000))
    ),
    no_video("cut.mp4", "not a video, or cut off before its index")(lambda path: cut_off(write_video(path), 0.4)),
    no_video("picture.png", r"a still picture, not a video \(png\)")(
        lambda path: write_video(path, num_frames=1, codec="png", pix_fmt="rgb24", format_options={"update": "1"})
    ),
    no_video("playlist.m3u8", "not a video, or cut off before its index")(
        lambda path: path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://localhost:9/a.ts\n")
    ),
    no_video("playlist.mp4", "not a video, or cut off before its index")(
        lambda path: path.write_text("ffconcat version 1.0\nfile video.mp4\n")
    ),
    no_video("sound.mp3", r"no video stream \(found: audio\)")(write_audio),
    no_video("cover.mp3", r"no video stream \(found: audio, still picture\)")(
        lambda path: write_audio(path, with_cover=True)
    ),
    no_video("unknown.avi", "FFmpeg has no decoder for the video stream")(
        lambda path: path.write_bytes(
            write_video(path, codec="mjpeg", pix_fmt="yuvj420p").read_bytes().replace(b"MJPG", b"ZZZZ")
        )
    ),
    no_video("damaged.avi", "none of its 3 frames can be decoded")(
        lambda path: damage_packets(write_video(path, num_frames=3, codec="mjpeg", pix_fmt="yuvj420p"), [0, 1, 2])
    ),
]


class TestRefusal:
    @pytest.mark.parametrize(("name", "write", "reason"), NO_VIDEOS)
    def test_what_is_no_video_is_one_error_that_names_file_and_reason(
        self, tmp_path: Path, name: str, write: Callable[[Path], object], reason: str
    ) -> None:
        path = tmp_path / name
        write(path)
        for use in (probe, lambda file: read_frames(file, [0])):
            with pytest.raises(DecodeError, match=reason) as caught:
                use(path)
            assert str(caught.value).startswith(f"{path}: ")
            assert "\n" not in str(caught.value)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_without_permission_is_an_error(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mp4")
        path.chmod(0)
        with pytest.raises(DecodeError, match="Permission denied"):
            probe(path)

    def test_a_file_named_like_a_protocol_is_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write_video(tmp_path / "video.mp4").rename(tmp_path / "pipe:0")
        assert probe("pipe:0").num_frames == 10


LISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
    "hls-address": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{other}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{other}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "asx": '<asx version="3.0"><entry><ref href="{other}"/></entry></asx>',
    "vobsub": "# VobSub index file, v7\nsize: 80x48\nid: en, index: 0\ntimestamp: 00:00:00:000, filepos: 000000000\n",
}


class TestOneFileAlone:
    @pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.mpd", "list.idx", "list"])
    @pytest.mark.parametrize("kind", LISTS)
    def test_a_file_never_opens_another_one(self, tmp_path: Path, kind: str, name: str) -> None:
        other = write_video(tmp_path / "other.mp4")
        os.mkfifo(tmp_path / "list.sub")  # whoever opens it, waits
        (tmp_path / name).write_text(LISTS[kind].format(other=other))
        with pytest.raises(DecodeError, match="not a video, or cut off before its index"):
            probe(tmp_path / name)

    def test_no_format_reads_from_elsewhere(self) -> None:
        names = [name for name in av.formats_available if name in container._FORMATS.split(",")]
        assert len(names) > 200
        for name in names:
            with suppress(ValueError):  # formats that are only written
                assert not av.ContainerFormat(name, "r").flags & av.format.Flags.no_file.value, name


class TestAcceptance:
    def test_a_stream_that_turns_up_late_is_no_error(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.ts", num_frames=20, gop=5)
        data = bytearray(path.read_bytes())
        starts = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == bytes([0x41, 0x00])]
        data[starts[-3] + 2] = 0x55
        path.write_bytes(data)
        assert probe(path).num_frames == 19
        assert frame_indices(read_frames(path, [3, 16])) == [3, 16]

    def test_tags_in_any_encoding_are_no_error(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mkv", metadata={"title": "?bung"})
        assert path.read_bytes().count(b"?bung") == 1
        path.write_bytes(path.read_bytes().replace(b"?bung", "Übung".encode("latin-1")))
        assert probe(path).num_frames == 10

    def test_nothing_is_printed_and_logging_is_left_alone(self, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=36)
        capfd.readouterr()
        read_frames(damage_packets(path, [12, 13]), [20])
        assert capfd.readouterr() == ("", "")
        assert av.logging.get_level() is None


class TestDamagedLength:
    """Lengths that a damaged header states, found by fuzzing."""

    @pytest.mark.parametrize("stated", [b"nan:0:00.4", b"inf:0:00.4", b"-9:00:00.4", b"-inf:0:0.4"])
    def test_a_length_that_is_no_length_is_not_known(self, stated: bytes, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mkv", num_frames=10)
        content = path.read_bytes()
        assert content.count(b"00:00:00.4") == 1
        path.write_bytes(content.replace(b"00:00:00.4", stated))
        assert probe(path).num_frames == 10
        assert Scanner().scan(path).num_frames == 10
