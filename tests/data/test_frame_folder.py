"""Folders of numbered pictures as videos: what is read equals what was written, and what is wrong is named."""

import zlib
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from pictures import write_folder
from timesformer.data.check.data_check import check_dataset
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.check.scan import Scanner
from timesformer.data.manifest.manifest import Manifest, Sample, load_manifest
from timesformer.data.manifest.save import save_manifest
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.reversed import write_reversed
from timesformer.data.video.file_reader import VideoInfo, VideoReader
from timesformer.data.video.file_stat import video_digest, video_exists, video_stamp
from timesformer.data.video.frame_folder import FrameFolderReader
from timesformer.data.video.reader import open_reader, probe, read_frames
from timesformer.errors import DataError, DecodeError
from videos import cut_off, draw_frame, frame_indices, write_frames


def rows(manifest: Manifest, root: Path) -> list[tuple[str, str]]:
    return [(s.path.relative_to(root).as_posix(), manifest.class_names[s.label]) for s in manifest.samples]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("frames") / "clip", num_frames=13, height=20, width=40)


# --- reading ---


@given(indices=st.lists(st.integers(0, 30), min_size=1, max_size=20))
@settings(deadline=None)
def test_what_is_read_is_what_was_written(indices, folder):
    frames = [draw_frame(min(index, 12), height=20, width=40) for index in indices]
    np.testing.assert_array_equal(read_frames(folder, indices), frames)


def test_info_counts_the_frames_and_takes_30_a_second(folder):
    assert probe(folder) == VideoInfo(num_frames=13, fps=30.0, height=20, width=40, duration_s=13 / 30, rotation=0)


@pytest.mark.parametrize(
    "name", ["{:05d}.jpg", "img_{:05d}.jpg", "frame_{:06d}.PNG", "a1_{}.jpeg", "{}.png", "v-2x{:03d}.jpg"]
)
@pytest.mark.parametrize("numbers", [range(8, 13), range(0, 50, 10), [0, 1, 2, 3, 4]])
def test_frames_come_in_the_order_of_their_numbers_whatever_they_are_called(name, numbers, tmp_path):
    write_frames(tmp_path / "clip", name=name, numbers=numbers)
    assert frame_indices(read_frames(tmp_path / "clip", range(5))) == [0, 1, 2, 3, 4]


def test_optical_flow_hidden_files_and_other_files_are_no_frames(tmp_path):
    clip = write_frames(tmp_path / "clip", name="img_{:05d}.jpg", num_frames=3)
    for name in ("flow_x_00001.jpg", "flow_y_00001.jpg", "._img_00001.jpg", "poster.jpg", "notes_1.txt"):
        (clip / name).touch()
    assert probe(clip).num_frames == 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_pictures_of_other_kinds_become_rgb(mode, tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=2)
    Image.open(clip / "00001.png").convert(mode).save(clip / "00001.png")
    assert read_frames(clip, [0, 1]).shape == (2, 48, 80, 3)


# --- orientation ---

UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}
"""What row 0 and column 0 of a stored picture are, by the EXIF standard: 6 has the top at the right, and so on."""


def write_turned(folder: Path, orientation: object, *, suffix: str = "png", num_frames: int = 3) -> list[np.ndarray]:
    """Write numbered pictures of one EXIF orientation; gives the pixels as stored, 20 high and 40 wide."""
    write_frames(folder, num_frames=num_frames, height=20, width=40, name="{:05d}." + suffix)
    tags = exif_of(orientation)
    stored = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            stored.append(np.asarray(picture.convert("RGB")))
            if suffix == "png":
                picture.save(path, exif=tags)
                continue
        data, segment = path.read_bytes(), tags.tobytes()  # Pillow would encode the pixels again
        path.write_bytes(data[:2] + b"\xff\xe1" + pack(">H", len(segment) + 2) + segment + data[2:])
    return stored


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_frames_are_turned_as_exif_says(tmp_path, orientation, suffix):
    stored = write_turned(tmp_path / "clip", orientation, suffix=suffix)
    upright = [UPRIGHT[orientation](frame) for frame in stored]
    read = read_frames(tmp_path / "clip", [2, 0])
    np.testing.assert_array_equal(read, [upright[2], upright[0]])
    info = probe(tmp_path / "clip")
    assert (info.height, info.width) == upright[0].shape[:2] == ((40, 20) if orientation > 4 else (20, 40))
    assert info.rotation == 0
    found = fingerprint(tmp_path / "clip")
    assert (found.error, found.height, found.width) == ("", *upright[0].shape[:2])
    np.testing.assert_array_equal(found.thumbnails, fingerprint(write_folder(tmp_path / "upright", upright)).thumbnails)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_what_exif_says_is_what_viewers_show(tmp_path, orientation):
    write_turned(tmp_path / "clip", orientation, num_frames=1)
    with Image.open(tmp_path / "clip" / "00001.png") as picture:
        np.testing.assert_array_equal(read_frames(tmp_path / "clip", [0])[0], ImageOps.exif_transpose(picture))


def test_sizes_are_compared_after_turning(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=2, height=20, width=40)
    write_turned(tmp_path / "turned", 6, num_frames=1)
    (tmp_path / "turned/00001.png").rename(clip / "00003.png")
    with pytest.raises(DecodeError, match=r"00003\.png: 20x40 pixels, but the first frame has 40x20"):
        read_frames(clip, [2])
    Image.fromarray(draw_frame(2, height=40, width=20)).save(clip / "00003.png", exif=exif_of(8))
    assert read_frames(clip, [2]).shape == (1, 20, 40, 3)


def exif_of(orientation: object) -> Image.Exif:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags


@pytest.mark.parametrize("orientation", [0, 1, 9, 65535])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path, orientation):
    stored = write_turned(tmp_path / "clip", orientation)
    np.testing.assert_array_equal(read_frames(tmp_path / "clip", range(3)), stored)


@given(data=st.data())
@settings(deadline=None, max_examples=60)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_exif_never_keeps_a_frame_from_being_read(tmp_path_factory, data):
    content = bytearray(exif_of(6).tobytes())
    for place in data.draw(st.lists(st.integers(6, len(content) - 1), min_size=1, max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("clip")
    Image.fromarray(draw_frame(0, height=20, width=40)).save(folder / "1.jpg", exif=bytes(content))
    info = probe(folder)
    assert read_frames(folder, [0]).shape == (1, info.height, info.width, 3)


def test_exif_behind_the_pixels_of_a_png_counts(tmp_path):
    write_turned(tmp_path / "clip", 6, num_frames=1)
    path = tmp_path / "clip" / "00001.png"
    data = path.read_bytes()
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    last = data.index(b"IEND") - 4
    assert end < data.index(b"IDAT")
    path.write_bytes(data[:start] + data[end:last] + data[start:end] + data[last:])
    assert (probe(tmp_path / "clip").height, probe(tmp_path / "clip").width) == (40, 20)
    assert read_frames(tmp_path / "clip", [0]).shape == (1, 40, 20, 3)


def test_a_damaged_first_frame_is_counted_and_not_the_end(tmp_path):
    write_frames(tmp_path / "clip", num_frames=4)
    cut_off(tmp_path / "clip" / "00001.png", 0.6)
    found = fingerprint(tmp_path / "clip")
    assert (found.error, found.num_frames, found.num_damaged) == ("", 3, 1)


# --- readers ---


def test_a_path_chooses_its_reader(folder, tmp_path):
    assert isinstance(open_reader(folder), FrameFolderReader)
    assert isinstance(open_reader(tmp_path / "a.mp4", num_threads=2), VideoReader)


def test_a_reader_is_open_inside_with_alone(folder):
    reader = open_reader(folder)
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"clip: the reader is not open; use it inside `with`"):
            reader.read([0])
        with reader:
            assert reader.read([0]).shape == (1, 20, 40, 3)
    with pytest.raises(DecodeError, match="not open"):
        _ = reader.info


@pytest.mark.parametrize(
    ("indices", "message"),
    [([], "indices is empty"), ([0, -1], "frame index -1 is negative")],
)
def test_wrong_indices_are_refused(indices, message, folder):
    with pytest.raises(DataError, match=message):
        read_frames(folder, indices)


# --- what is wrong ---


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 2, 4, 5], "clip: frame 3 is missing: 00002.png is followed by 00004.png"),
        ([1, 3, 4, 5], "clip: frame 2 is missing: 00001.png is followed by 00003.png"),
        ([0, 5, 10, 20], "clip: frame 15 is missing: 00010.png is followed by 00020.png"),
        ([0, 5, 10, 12], "clip: 00010.png is followed by 00012.png, but the other numbers increase by 5"),
    ],
)
def test_a_gap_is_an_error_that_says_what_is_missing(numbers, message, tmp_path):
    write_frames(tmp_path / "clip", numbers=numbers)
    for use in (probe, lambda path: read_frames(path, [0])):
        with pytest.raises(DecodeError, match=message):
            use(tmp_path / "clip")


def test_a_number_that_is_there_twice_is_an_error(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=3)
    (clip / "2.png").write_bytes((clip / "00002.png").read_bytes())
    with pytest.raises(DecodeError, match=r"clip: frame 2 exists twice: 00002.png and 2.png"):
        probe(clip)


def test_frames_of_several_kinds_are_an_error(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=2)
    write_frames(clip, num_frames=2, name="depth_{}.jpg")
    with pytest.raises(DecodeError, match=r"clip: frames of several kinds: \*.png, depth_\*.jpg"):
        probe(clip)


def test_a_folder_without_frames_is_an_error(tmp_path):
    with pytest.raises(DecodeError, match=r"a folder, not a video file, without frames such as 00001.jpg"):
        probe(tmp_path)


def test_a_frame_of_another_size_is_an_error_that_names_it(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=4)
    Image.new("RGB", (30, 20)).save(clip / "00003.png")
    assert frame_indices(read_frames(clip, [0, 1, 3])) == [0, 1, 3]
    with pytest.raises(DecodeError, match=r"00003.png: 30x20 pixels, but the first frame has 80x48"):
        read_frames(clip, [1, 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: cut_off(path, 0.6), "00002.png: cannot be read as a picture"),
        (lambda path: path.write_bytes(b"text"), "00002.png: neither JPEG nor PNG"),
        (lambda path: path.write_bytes(b""), "00002.png: neither JPEG nor PNG"),
    ],
)
def test_a_damaged_frame_is_an_error_that_names_it(damage, message, tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=3)
    damage(clip / "00002.png")
    assert frame_indices(read_frames(clip, [0, 2])) == [0, 2]
    with pytest.raises(DecodeError, match=message):
        read_frames(clip, [1])


@pytest.mark.parametrize(("kind", "num_colors"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"])
def test_a_png_of_16_bits_a_color_is_refused_and_not_cut_to_8(kind, num_colors, tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=2)
    chunks = {
        b"IHDR": pack(">IIBBBBB", 80, 48, 16, kind, 0, 0, 0),
        b"IDAT": zlib.compress(48 * bytes(1 + 2 * num_colors * 80)),
        b"IEND": b"",
    }
    parts = [pack(">I", len(c)) + name + c + pack(">I", zlib.crc32(name + c)) for name, c in chunks.items()]
    (clip / "00001.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    for use in (probe, lambda path: read_frames(path, [0])):
        with pytest.raises(DecodeError, match=r"00001.png: 16 bits per color are more than 8: write frames with 8"):
            use(clip)


# --- in data sets ---


def test_a_class_folder_may_hold_folders_of_frames_at_any_depth_and_by_link(tmp_path):
    write_frames(tmp_path / "wave/b/clip", num_frames=1)
    write_frames(tmp_path / "elsewhere/clip", num_frames=1)
    write_frames(tmp_path / "data/clap/thumbnails", num_frames=2)
    (tmp_path / "wave").rename(tmp_path / "data/wave")
    for name in ("data/clap/c.mp4", "data/clap/1.jpg", "data/clap/thumbnails/d.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "data/wave/linked").symlink_to(tmp_path / "elsewhere/clip", target_is_directory=True)
    assert rows(load_manifest(tmp_path / "data"), tmp_path / "data") == [
        ("clap/c.mp4", "clap"),
        ("clap/thumbnails/d.mp4", "clap"),
        ("wave/b/clip", "wave"),
        ("wave/linked", "wave"),
    ]


def test_pictures_in_a_class_folder_itself_are_no_video(tmp_path):
    write_frames(tmp_path / "wave", num_frames=2)
    with pytest.raises(DataError, match=r"no video in 1 of 1 class folders \(wave\).* or is a folder of frames"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("separator", [" ", ",", "\t", ";"])
@pytest.mark.parametrize(
    "lines",
    [
        ["clips/a 1", "clips/b.avi 0"],
        ["clips/a 29 1", "clips/b.avi 7 0"],
        ["clips/a 1", "c.mp4 0"],
        ["clips/a jump", "clips/b.avi wave"],
        ["clips/a 29 jump", "clips/b.avi 7 wave"],
    ],
)
def test_a_list_may_name_folders_with_or_without_the_number_of_frames(lines, separator, tmp_path):
    for name in ("a", "b.avi"):
        write_frames(tmp_path / "clips" / name, num_frames=2)
    (tmp_path / "c.mp4").touch()
    (tmp_path / "list.txt").write_text("\n".join(line.replace(" ", separator) for line in lines))
    found = rows(load_manifest(tmp_path / "list.txt"), tmp_path)
    labels = ["1", "0"] if lines[0].endswith("1") else ["jump", "wave"]
    assert found == list(zip([line.split()[0] for line in lines], labels, strict=True))


def test_folders_of_a_list_need_not_be_there_where_labels_are_numbers(tmp_path):
    (tmp_path / "list.txt").write_text("clips/a 29 1\nclips/b 30 0\n")
    assert rows(load_manifest(tmp_path / "list.txt", check_exists=False), tmp_path) == [
        ("clips/a", "1"),
        ("clips/b", "0"),
    ]
    with pytest.raises(DataError, match=r"2 of 2 videos are missing: .*clips/a, .*clips/b"):
        load_manifest(tmp_path / "list.txt")


@pytest.mark.parametrize("line", ["clips/z jump", "clips/a x 1", "clips/a 1 2 3", "a.jpg 1"])
def test_a_line_that_names_no_folder_is_refused(line, tmp_path):
    write_frames(tmp_path / "clips/a", num_frames=2)
    (tmp_path / "list.txt").write_text(line)
    with pytest.raises(
        DataError, match=r"line 1: .* is not the path of a video and a label.* or is a folder of frames"
    ):
        load_manifest(tmp_path / "list.txt")


@pytest.mark.parametrize("header", ["folder,num_frames,label", "path,num_frames,label"])
def test_a_table_may_name_folders(header, tmp_path):
    write_frames(tmp_path / "clips/a", num_frames=2)
    (tmp_path / "list.csv").write_text(f"{header}\nclips/a,2,wave\n")
    assert rows(load_manifest(tmp_path / "list.csv"), tmp_path) == [("clips/a", "wave")]
    (tmp_path / "list.csv").write_text(f"{header}\nclips/b,2,wave\n")
    with pytest.raises(DataError, match=r"line 2: 'clips/b' does not end with one of .*, and is not a folder"):
        load_manifest(tmp_path / "list.csv")


@pytest.mark.parametrize("place", ["frames", "videos", "."])
def test_clips_of_something_something_may_be_folders(place, tmp_path):
    write_frames(tmp_path / place / "12", num_frames=2)
    (tmp_path / "train.json").write_text('[{"id": 12, "template": "Holding [something]"}]')
    assert load_manifest(tmp_path / "train.json").samples[0].path == tmp_path / place / "12"


def test_videos_of_ucf101_may_be_folders(tmp_path):
    write_frames(tmp_path / "UCF-101/Archery/v_Archery_g01_c01", num_frames=2)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/classInd.txt").write_text("1 Archery\n")
    (tmp_path / "lists/testlist01.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    manifest = load_manifest(tmp_path / "lists/testlist01.txt")
    assert manifest.samples[0].path == tmp_path / "UCF-101/Archery/v_Archery_g01_c01"


def test_a_list_of_folders_and_files_is_written_and_read_back(tmp_path):
    names = ["a", "b c", "d, 1", "7", "e.avi", '"f"']
    paths = [write_frames(tmp_path / name, num_frames=1) for name in names] + [tmp_path / "g.mp4"]
    (tmp_path / "g.mp4").touch()
    manifest = Manifest(tuple(Sample(path, n % 2) for n, path in enumerate(paths)), ("x", "y"))
    for separator in (",", " ", "\t", ";"):
        save_manifest(manifest, tmp_path / "list.csv", separator=separator)
        assert load_manifest(tmp_path / "list.csv") == manifest


def test_a_folder_changes_with_its_frames(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=3)
    stamp, digest = video_stamp(clip), video_digest(clip)
    Image.fromarray(draw_frame(900)).save(clip / "00002.png")
    assert video_stamp(clip) != stamp
    assert video_digest(clip) != digest
    assert video_stamp(tmp_path / "none") is None
    assert not video_exists(tmp_path)


# --- check ---


def test_a_fingerprint_is_that_of_the_same_video_as_a_file(tmp_path):
    brightness = np.arange(40, dtype=np.uint8)[:, None, None, None] * 4
    frames = np.broadcast_to(brightness, (40, 48, 80, 3))
    write_clip(tmp_path / "clip.mp4", frames, fps=30)
    (tmp_path / "clip").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"clip/{number:05d}.png")
    found, file = fingerprint(tmp_path / "clip"), fingerprint(tmp_path / "clip.mp4")
    assert (found.num_frames, found.height, found.width, found.fps) == (40, 48, 80, 30.0)
    assert np.abs(found.thumbnails.astype(int) - file.thumbnails).max() <= 2


def test_check_finds_what_is_wrong_with_folders(tmp_path):
    for label in ("wave", "clap"):
        for number in range(2):
            write_frames(tmp_path / label / str(number), numbers=range(100 * number + 1, 100 * number + 13))
    (tmp_path / "wave/1/00105.png").unlink()
    cut_off(tmp_path / "clap/0/00003.png", 0.6)
    Image.new("RGB", (30, 20)).save(tmp_path / "clap/1/00104.png")
    findings = [f for f in check_dataset(tmp_path).findings if f.kind in ("unreadable", "truncated")]
    found = {(f.kind, f.files[0].relative_to(tmp_path).as_posix()): f.reason for f in findings}
    assert found == {
        ("unreadable", "wave/1"): "frame 105 is missing: 00104.png is followed by 00106.png",
        ("truncated", "clap/0"): "damaged: 1",
        ("unreadable", "clap/1"): f"{tmp_path}/clap/1/00104.png: 30x20 pixels, but the first frame has 80x48",
    }


def test_folder_whose_frames_are_all_damaged_is_unreadable(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=3)
    for frame in clip.iterdir():
        cut_off(frame, 0.6)
    assert fingerprint(clip).error == "none of its 3 frames can be decoded"


def test_a_second_check_reads_only_the_folder_that_changed(tmp_path, monkeypatch):
    for number in range(3):
        write_frames(tmp_path / f"wave/{number}", numbers=range(8))
    check_dataset(tmp_path)
    read = []
    scan = Scanner.scan
    monkeypatch.setattr(Scanner, "scan", lambda scanner, path: read.append(path) or scan(scanner, path))
    Image.fromarray(draw_frame(900)).save(tmp_path / "wave/1/00002.png")
    check_dataset(tmp_path)
    assert read == [tmp_path / "wave/1"]


def test_a_folder_is_played_backwards(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=5)
    copies = write_reversed(Manifest((Sample(clip, 0),), ("x",)), tmp_path / "copies")
    assert [frame_indices(read_frames(s.path, range(5))) for s in copies.samples] == [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
    (tmp_path / "gone").mkdir()
    with pytest.raises(DecodeError, match="gone: there is no such video"):
        write_reversed(Manifest((Sample(tmp_path / "gone", 0),), ("x",)), tmp_path / "copies")
