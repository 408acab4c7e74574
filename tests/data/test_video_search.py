"""Videos below a folder; everything else there is counted or named."""

import os
from collections import Counter
from pathlib import Path

import pytest

from timesformer.data.check.data_check import check_dataset
from timesformer.data.manifest import video_search
from timesformer.data.manifest.manifest import load_manifest
from timesformer.data.manifest.video_search import describe_passed_over, find_videos_below, looks_like_video
from timesformer.data.video.paths import VIDEO_SUFFIXES
from timesformer.errors import DataError
from videos import touch, write_audio, write_frames, write_video


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_videos_below(folder).videos]


def passed_over(folder: Path) -> list[tuple[str, str]]:
    return [(p.path.relative_to(folder).as_posix(), p.reason) for p in find_videos_below(folder).passed_over]


@pytest.mark.parametrize("suffix", [".vob", ".MXF", ".m2v", ".divx", ".f4v", ".rmvb", ".dav", ".h264", ".hevc", ".3g2"])
def test_every_extension_that_ffmpeg_reads_is_a_video(tmp_path, suffix):
    assert found(touch(tmp_path, f"deep/er/a{suffix}")) == [f"deep/er/a{suffix}"]


def test_suffixes_are_sorted_small_and_listed_once():
    assert list(VIDEO_SUFFIXES) == sorted({suffix.lower() for suffix in VIDEO_SUFFIXES})
    assert {".y4m", ".dv", ".ogg"} < set(VIDEO_SUFFIXES)


def test_a_linked_folder_is_searched_once_whatever_leads_there(tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "a.mp4", "deep/b.mp4")
    wave = touch(tmp_path / "wave", "own/c.mp4")
    for name, target in (
        ("first", elsewhere),
        ("second", elsewhere),
        ("again", wave / "own"),
        ("deep", elsewhere / "deep"),
    ):
        (wave / name).symlink_to(target, target_is_directory=True)
    assert found(wave) == ["deep/b.mp4", "first/a.mp4", "own/c.mp4"]
    assert passed_over(wave) == [("again", "link"), ("second", "link")]


@pytest.mark.parametrize("target", [".", "..", "../..", "deep"])
def test_a_link_back_ends_no_search_and_brings_no_other_class(tmp_path, target):
    touch(tmp_path / "data", "clap/z.mp4")
    wave = touch(tmp_path / "data/wave", "deep/a.mp4")
    (wave / "loop").symlink_to(target, target_is_directory=True)
    (wave / "deep/loop").symlink_to("..", target_is_directory=True)
    assert found(wave) == ["deep/a.mp4"]
    assert passed_over(wave) == [("deep/loop", "link"), ("loop", "link")]


def test_links_among_linked_folders_end(tmp_path):
    for name, other in (("x", "y"), ("y", "x")):
        touch(tmp_path / name, f"{name}.mp4")
        (tmp_path / name / "other").symlink_to(tmp_path / other, target_is_directory=True)
    (tmp_path / "wave").mkdir()
    (tmp_path / "wave/x").symlink_to(tmp_path / "x", target_is_directory=True)
    assert found(tmp_path / "wave") == ["x/other/y.mp4", "x/x.mp4"]
    assert passed_over(tmp_path / "wave") == [("x/other/other", "link")]


def test_a_class_folder_that_is_a_link_and_links_to_files_are_followed(tmp_path):
    touch(tmp_path, "elsewhere/a.mp4", "b.mp4", "data/wave/c.mp4")
    (tmp_path / "data/clap").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data/wave/linked.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "data/wave/gone").symlink_to(tmp_path / "none")
    manifest = load_manifest(tmp_path / "data")
    assert [s.path.relative_to(tmp_path / "data").as_posix() for s in manifest.samples] == [
        "clap/a.mp4",
        "wave/c.mp4",
        "wave/linked.mp4",
    ]
    assert passed_over(tmp_path / "data/wave") == [("gone", "broken")]


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    touch(tmp_path, "wave/a.mp4", "wave/locked/b.mp4", "clap/c.mp4")
    scandir = os.scandir

    def refuse(place):
        if str(place).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    for read in (load_manifest, check_dataset):
        with pytest.raises(DataError, match=r"wave/locked: the folder cannot be read: Permission denied"):
            read(tmp_path)


def test_files_without_the_extension_of_a_video_are_told_apart(tmp_path):
    for name in ("clip", "clip.video", "clip.mp4.bak2", "clip.mp4.part"):
        write_video(tmp_path / "a.mp4", num_frames=2, height=32, width=40).rename(tmp_path / name)
    (tmp_path / "notes").write_text("wave: anna")
    (tmp_path / "words.xyz").write_text("wave: anna")
    os.mkfifo(tmp_path / "pipe")
    touch(tmp_path, "a.txt", "b.TXT", "c.jpg", ".DS_Store", "Thumbs.db", ".cache/x.mp4", "__MACOSX/wave/._a.mp4")
    below = find_videos_below(tmp_path)
    assert below.videos == ()
    assert passed_over(tmp_path) == [
        ("clip", "misnamed"),
        ("clip.mp4.bak2", "misnamed"),
        ("clip.mp4.part", "unfinished"),
        ("clip.video", "misnamed"),
        ("notes", "unknown"),
        ("pipe", "unknown"),
        ("words.xyz", "unknown"),
    ]
    assert below.others == Counter({"hidden": 3, ".txt": 2, ".jpg": 1, ".db": 1})


@pytest.mark.parametrize(
    "suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts", ".mpg", ".flv", ".wmv", ".ogv", ".mxf", ".h264", ".y4m"]
)
def test_a_video_is_known_by_its_first_bytes(tmp_path, suffix):
    codec = {".ogv": "libvpx", ".mpg": "mpeg1video", ".wmv": "wmv2", ".mxf": "mpeg2video", ".y4m": "wrapped_avframe"}
    path = write_video(tmp_path / f"a{suffix}", num_frames=3, codec=codec.get(suffix, "libx264"))
    assert looks_like_video(path)


@pytest.mark.parametrize(
    "content", [b"", b"GG", b"a text", b"\x00" * 400, b"\x00\x00\x00\x20ftypavif", b"\x89PNG\r\n\x1a\n"]
)
def test_other_bytes_are_no_video(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not looks_like_video(tmp_path / "a")
    assert not looks_like_video(write_audio(tmp_path / "a.mp3"))
    assert not looks_like_video(tmp_path / "none")


def test_numbered_pictures_beside_videos_are_previews(tmp_path):
    write_frames(tmp_path / "wave/previews", num_frames=3)
    write_frames(tmp_path / "wave/deep/er/sheet", num_frames=1)
    write_frames(tmp_path / "clap/one", num_frames=3)
    touch(tmp_path, "wave/clip.mp4")
    assert found(tmp_path / "wave") == ["clip.mp4"]
    assert passed_over(tmp_path / "wave") == [("deep/er/sheet", "pictures"), ("previews", "pictures")]
    assert found(tmp_path / "clap") == ["one"]


def test_a_line_names_each_kind_and_counts_the_rest(tmp_path):
    touch(tmp_path, "a.mp4", "notes", "b.xyz", "c.xyz", "d.xyz", "e.txt", "f.txt", "g.json", ".h", "i.csv", "j.md")
    below = find_videos_below(tmp_path)
    assert describe_passed_over(below.passed_over, below.others, root=tmp_path) == (
        "passed over: files without a video extension: 4 (b.xyz, c.xyz, d.xyz, ...); "
        "other files: 6 (2 .txt, 1 .csv, 1 .json, 1 .md, ...)"
    )
    assert describe_passed_over((), Counter(), root=tmp_path) == ""


def test_every_reason_is_one_that_is_given():
    home = Path(video_search.__file__)
    homes = (home, home.with_name("rows.py"), home.parents[1] / "check/listing.py")
    source = "".join(path.read_text() for path in homes)
    assert all(source.count(f'"{reason}"') >= 2 for reason in video_search.REASONS)


def test_training_is_told_what_is_passed_over_and_why_a_class_is_empty(tmp_path, caplog):
    touch(tmp_path, "wave/a.mp4", "wave/clip", "clap/b.mp4", "loose.mp4", "readme.txt")
    load_manifest(tmp_path)
    assert caplog.messages == [
        f"{tmp_path}: passed over: files without a video extension: 1 (wave/clip); "
        "videos next to the class folders, without a class: 1 (loose.mp4)"
    ]
    (tmp_path / "clap/b.mp4").rename(tmp_path / "clap/b")
    with pytest.raises(DataError, match=r"no video in 1 of 2 class folders \(clap\).*: 2 \(clap/b, wave/clip\)"):
        load_manifest(tmp_path)


def test_a_class_folder_that_leads_back_is_no_class(tmp_path, caplog):
    touch(tmp_path / "data", "wave/a.mp4", "clap/b.mp4")
    for name, target in (("self", "."), ("up", "..")):
        (tmp_path / "data" / name).symlink_to(target, target_is_directory=True)
    assert load_manifest(tmp_path / "data").class_names == ("clap", "wave")
    assert caplog.messages[0].endswith("or to a parent of the link: 2 (self, up)")


def test_a_class_folder_that_is_a_link_to_nowhere_is_an_error(tmp_path):
    touch(tmp_path, "wave/a.mp4", "clap/b.mp4")
    (tmp_path / "bow").symlink_to(tmp_path / "none")
    for read in (load_manifest, check_dataset):
        with pytest.raises(DataError, match="broken links: bow"):
            read(tmp_path)
