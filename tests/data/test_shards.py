"""Videos in tar files: read as the files themselves, written as WebDataset reads them, refused where damaged."""

import gc
import json
import os
import tarfile
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.data.check.data_check import check_dataset
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.manifest import shard_writer as shards
from timesformer.data.manifest.manifest import Manifest, Sample, load_manifest, load_split, split_manifest
from timesformer.data.manifest.shard_writer import write_shards
from timesformer.data.synthetic.reversed import write_reversed
from timesformer.data.video.file_stat import video_digest, video_exists, video_stamp
from timesformer.data.video.reader import open_reader, probe, read_frames
from timesformer.data.video.tar_member import MemberFile, find_member, list_members, split_member
from timesformer.errors import ConfigError, DataError, DecodeError
from videos import cut_off, damage_packets, decode_all, frame_indices, write_video

KINDS = {
    "a.mp4": {},
    "b.mkv": {"num_b_frames": 2},
    "c.avi": {"codec": "mpeg4"},
    "d.ts": {"num_b_frames": 2},
    "e.webm": {"codec": "libvpx"},
    "f.mov": {"format_options": {"movflags": "faststart"}},
    "g.mp4": {"format_options": {"movflags": "frag_keyframe+empty_moov"}},
    "h.mpg": {"codec": "mpeg2video"},
    "i.flv": {},
}


def write_set(folder: Path, *, num_videos: int = 9, num_classes: int = 3) -> Manifest:
    """Videos of 3 and more frames, no two of the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = [
        Sample(write_video(folder / f"it's no. {number}.mp4", num_frames=3 + number), number % num_classes)
        for number in range(num_videos)
    ]
    return Manifest(tuple(samples), tuple(f"class {label}" for label in range(num_classes)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {name: write_video(folder / name, num_frames=40, **options) for name, options in KINDS.items()}


@pytest.fixture(scope="module")
def archive(files: dict[str, Path]) -> Path:
    """A tar file as other programs write them: folders in it, other files, long names."""
    path = files["a.mp4"].with_name("all.tar")
    with tarfile.open(path, "w") as tar:
        for name, file in files.items():
            tar.add(file, f"./{'deep/' * 30}{name}")
            tar.add(__file__, f"{name}.txt")
    return path


# --- reading ---


@pytest.mark.parametrize("name", KINDS)
@given(indices=st.lists(st.integers(0, 50), min_size=1, max_size=12))
@settings(max_examples=12, deadline=None)
def test_a_video_in_a_tar_file_is_read_as_the_file_itself(name, indices, files, archive):
    member = archive / ("deep/" * 30) / name
    assert probe(member) == probe(files[name])
    np.testing.assert_array_equal(read_frames(member, indices), read_frames(files[name], indices))


@pytest.mark.parametrize("name", KINDS)
def test_its_fingerprint_is_that_of_the_file(name, files, archive):
    member = archive / ("deep/" * 30) / name
    found, expected = fingerprint(member), fingerprint(files[name])
    np.testing.assert_array_equal(found.thumbnails, expected.thumbnails)
    assert (found.digest, found.num_frames, found.fps, found.error) == (
        expected.digest,
        expected.num_frames,
        expected.fps,
        "",
    )
    assert video_digest(member) == video_digest(files[name])


def test_a_damaged_video_in_a_tar_file_is_read_as_the_damaged_file(tmp_path):
    file = damage_packets(write_video(tmp_path / "a.mp4", num_frames=30, gop=10), [14, 15])
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(file, "a.mp4")
    found = read_frames(tmp_path / "s.tar/a.mp4", range(30))
    np.testing.assert_array_equal(found, read_frames(file, range(30)))
    assert decode_all(file).shape[1:] == found.shape[1:]


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_member_is_a_file_of_its_own(data, files, archive):
    member = find_member(archive / ("deep/" * 30) / "a.mp4")
    assert member is not None
    content = files["a.mp4"].read_bytes()
    with MemberFile(member, "a.mp4") as file:
        assert file.readable() and file.seekable()
        for _ in range(data.draw(st.integers(1, 5))):
            whence = data.draw(st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]))
            place = file.seek(data.draw(st.integers(-len(content), 2 * len(content))), whence)
            assert place == file.tell() >= 0
            count = data.draw(st.integers(-1, 5000))
            assert file.read(count) == (content[place:] if count < 0 else content[place : place + count])


def test_no_file_stays_open(archive):
    descriptors = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        with open_reader(archive / ("deep/" * 30) / "d.ts") as reader:
            reader.read([30, 2])
    assert (len(os.listdir("/proc/self/fd")) if descriptors else 0) == descriptors


def test_paths_through_tar_files_are_told_from_others(tmp_path):
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "s.tar").touch()
    assert split_member(tmp_path / "folder.tar/a.mp4") is None
    assert split_member(tmp_path / "s.tar") is None
    assert split_member(tmp_path / "a.mp4") is None
    assert split_member(tmp_path / "s.tar/x/a.mp4") == (tmp_path / "s.tar", "x/a.mp4")
    assert split_member("gone.TAR/a.mp4") == (Path("gone.TAR"), "a.mp4")


def test_a_folder_called_as_a_tar_file_hides_none_below(tmp_path):
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "folder.tar/s.tar").touch()
    assert split_member(tmp_path / "folder.tar/s.tar/a.mp4") == (tmp_path / "folder.tar/s.tar", "a.mp4")


# --- what is wrong ---


def test_a_member_that_is_not_there_is_an_error_that_names_both(archive):
    with pytest.raises(DecodeError, match=r"all.tar/z.mp4: no video 'z.mp4' in all.tar"):
        probe(archive / "z.mp4")
    assert not video_exists(archive / "z.mp4")
    assert video_stamp(archive / "z.mp4") is None


def test_a_tar_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DecodeError, match=r"gone.tar: No such file or directory"):
        probe(tmp_path / "gone.tar/a.mp4")
    assert not video_exists(tmp_path / "gone.tar/a.mp4")


@pytest.mark.parametrize("content", [b"", b"no tar file" * 100])
def test_a_file_that_is_not_a_tar_file_is_an_error(content, tmp_path):
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(DecodeError, match=r"s.tar: (not a tar file, or|the tar file is damaged or) cut off"):
        probe(tmp_path / "s.tar/a.mp4")


def test_a_video_without_a_byte_is_an_error(tmp_path):
    (tmp_path / "a.mp4").touch()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "a.mp4", "a.mp4")
    with pytest.raises(DecodeError, match=r"s.tar/a.mp4: an empty file, not a video"):
        probe(tmp_path / "s.tar/a.mp4")


@given(share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_tar_file_that_is_cut_off_anywhere_is_an_error(share, archive, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "s.tar"
    end = archive.read_bytes().rstrip(b"\0")
    path.write_bytes(end[: int(share * len(end))])
    with pytest.raises(DecodeError, match=r"s.tar: .*cut off"):
        list_members(path)


def test_a_tar_file_that_changes_is_read_anew(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with tarfile.open(tmp_path / "s.tar", "w") as tar:
            tar.add(write_video(tmp_path / name), name)
        assert list(list_members(tmp_path / "s.tar")) == [name]
        os.utime(tmp_path / "s.tar", ns=(0, len(name)))


def test_missing_members_and_damaged_shards_are_refused_before_training(tmp_path):
    write_shards(write_set(tmp_path / "videos"), None, tmp_path / "s", max_clips=5)
    lines = (tmp_path / "s/train.csv").read_text().splitlines()
    (tmp_path / "s/train.csv").write_text("\n".join([*lines, "train-000001.tar/x.mp4,0", "train-000007.tar/y.mp4,1"]))
    with pytest.raises(DataError, match=r"2 of 11 videos are missing: .*train-000001.tar/x.mp4, .*000007.tar/y.mp4$"):
        load_manifest(tmp_path / "s/train.csv")
    found = {
        (finding.kind, finding.files) for finding in check_dataset(tmp_path / "s/train.csv", num_frames=1).findings
    }
    missing = ("train-000001.tar/x.mp4", "train-000007.tar/y.mp4")
    assert {("missing", (tmp_path / "s" / name,)) for name in missing} <= found
    cut_off(tmp_path / "s/train-000000.tar", 0.5)
    with pytest.raises(DecodeError, match=r"train-000000.tar: .*cut off"):
        load_manifest(tmp_path / "s/train.csv")
    found = [f for f in check_dataset(tmp_path / "s/train.csv", num_frames=1).findings if f.kind == "unreadable"]
    assert len(found) == 5
    assert all("train-000000.tar: " in finding.reason and "cut off" in finding.reason for finding in found)


# --- writing ---


def read_webdataset(folder: Path, part: str) -> list[dict]:
    urls = [str(path) for path in sorted(folder.glob(f"{part}-*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the library leaves files to the garbage collector
        samples = list(webdataset.WebDataset(urls, shardshuffle=False))
        gc.collect()
    return samples


def test_the_webdataset_library_reads_what_the_lists_say(tmp_path):
    manifest = write_set(tmp_path / "videos")
    written = write_shards(manifest, None, tmp_path / "s", max_clips=4)
    read = read_webdataset(tmp_path / "s", "train")
    listed = load_manifest(written.train)
    assert [len(list_members(shard)) for shard in written.shards] == [4, 4, 1]
    assert [int(sample["cls"]) for sample in read] == [sample.label for sample in listed.samples]
    assert [f"{sample['__key__']}.mp4" for sample in read] == [sample.path.name for sample in listed.samples]
    of_name = {sample.path.name: sample for sample in manifest.samples}
    for sample in read:
        about = json.loads(sample["json"])
        original = of_name[about["file"]]
        assert sample["mp4"] == original.path.read_bytes()
        assert int(sample["cls"]) == original.label
        assert about["class_name"] == manifest.class_names[original.label]


@given(
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=25),
    max_bytes=st.integers(1, 60_000),
    max_clips=st.integers(1, 9),
    seed=st.integers(0, 3),
)
@settings(max_examples=40, deadline=None)
def test_every_video_is_in_one_shard_and_no_shard_is_too_large(sizes, max_bytes, max_clips, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    for number, size in enumerate(sizes):
        (folder / f"{number}.mp4").write_bytes(bytes([number]) * size)
    manifest = Manifest(tuple(Sample(folder / f"{n}.mp4", n % 2) for n in range(len(sizes))), ("x", "y"))
    written = write_shards(manifest, None, folder / "s", max_bytes=max_bytes, max_clips=max_clips, seed=seed)
    members = [member for shard in written.shards for member in list_members(shard).values()]
    listed = load_manifest(written.train)
    assert sorted(sample.path.stem.split("_")[1] for sample in listed.samples) == sorted(map(str, range(len(sizes))))
    assert Counter(sample.label for sample in listed.samples) == Counter(sample.label for sample in manifest.samples)
    assert sorted(member.size for member in members) == sorted(sizes)
    assert written.num_bytes == sum(shard.stat().st_size for shard in written.shards)
    for shard in written.shards:
        assert len(list_members(shard)) <= max_clips
        assert shard.stat().st_size <= max_bytes or len(list_members(shard)) == 1


def test_the_seed_chooses_the_order_and_equal_seeds_give_equal_bytes(tmp_path):
    manifest = write_set(tmp_path / "videos", num_videos=12)
    written = [
        write_shards(manifest, None, tmp_path / name, max_clips=6, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    first, again, other = ([shard.read_bytes() for shard in one.shards] for one in written)
    assert first == again != other
    assert [len({s.label for s in load_manifest(written[0].train).samples[k : k + 6]}) for k in (0, 6)] == [3, 3]


def test_shards_can_be_moved_and_packed_again(tmp_path):
    manifest = write_set(tmp_path / "videos", num_videos=5)
    write_shards(manifest, manifest, tmp_path / "s", max_clips=2)
    (tmp_path / "s").rename(tmp_path / "moved")
    train, val = (load_split(tmp_path / "moved", part) for part in ("train", "val"))
    assert train is not None and val is not None
    again = write_shards(train, val, tmp_path / "again")
    contents = [Counter(video_digest(s.path) for s in m.samples) for m in (manifest, load_manifest(again.train))]
    assert contents[0] == contents[1]
    with pytest.raises(ConfigError, match="moved: contains the videos to pack; name another folder"):
        write_shards(train, val, tmp_path / "moved", overwrite=True)


def test_a_video_that_is_listed_twice_is_packed_once_and_no_half_of_it_is_held_out(tmp_path):
    manifest = write_set(tmp_path / "videos", num_videos=6, num_classes=2)
    twice = Manifest(manifest.samples + manifest.samples[:5], manifest.class_names)
    written = write_shards(twice, None, tmp_path / "s", max_clips=4)
    assert [len(list_members(shard)) for shard in written.shards] == [4, 2]
    listed = load_manifest(written.train)
    times = Counter((video_digest(sample.path), sample.label) for sample in listed.samples)
    assert times == Counter((video_digest(sample.path), sample.label) for sample in twice.samples)
    parts = split_manifest(listed, fraction=0.4, seed=0)
    train, held = ({video_digest(sample.path) for sample in part.samples} for part in parts)
    assert held and not train & held


def test_progress_counts_all_videos(tmp_path):
    manifest, counts = write_set(tmp_path / "videos", num_videos=3), []
    write_shards(manifest, manifest, tmp_path / "s", on_progress=lambda done, total: counts.append((done, total)))
    assert counts == [(done, 6) for done in range(1, 7)]


def test_lists_of_other_videos_are_not_replaced(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/train.csv").write_text("a.mp4,0\n")
    with pytest.raises(ConfigError, match=r"s/train.csv: lists other videos; name another folder"):
        write_shards(write_set(tmp_path / "videos"), None, tmp_path / "s", overwrite=True)
    with pytest.raises(ConfigError, match=r"s/train.csv: is a file; name a folder"):
        write_shards(write_set(tmp_path / "videos"), None, tmp_path / "s/train.csv")


def test_an_interruption_leaves_no_partial_shard_and_no_list(tmp_path):
    manifest = write_set(tmp_path / "videos", num_videos=5)
    write_shards(manifest, None, tmp_path / "s", max_clips=2)

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(manifest, None, tmp_path / "s", max_clips=2, seed=9, overwrite=True, on_progress=stop)
    left = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert left == ["classes.txt", "train-000000.tar", "train-000001.tar", "train-000002.tar"]
    write_shards(manifest, None, tmp_path / "s", max_clips=3, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "s").glob("*.tar")) == ["train-000000.tar", "train-000001.tar"]
    assert len(load_manifest(tmp_path / "s/train.csv").samples) == 5


def test_splits_with_different_classes_and_missing_videos_are_refused(tmp_path):
    manifest = write_set(tmp_path / "videos")
    other = Manifest(manifest.samples, ("x", "y", "z"))
    with pytest.raises(DataError, match="training and validation have different classes"):
        write_shards(manifest, other, tmp_path / "s")
    with pytest.raises(DataError, match=r"gone.mp4: there is no such video"):
        write_shards(Manifest((Sample(tmp_path / "gone.mp4", 0),), ("x",)), None, tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", [" x", "x\ny", "1"])
def test_names_of_classes_that_cannot_be_written_are_refused_before_anything_is_removed(name, tmp_path):
    manifest = write_set(tmp_path / "videos", num_videos=2, num_classes=2)
    write_shards(manifest, manifest, tmp_path / "s")
    before = {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    with pytest.raises(DataError, match="cannot be written"):
        write_shards(Manifest(manifest.samples, (name, "y")), None, tmp_path / "s", overwrite=True)
    assert {path: path.read_bytes() for path in (tmp_path / "s").iterdir()} == before


@pytest.mark.parametrize(("change", "message"), [(-10, "became shorter"), (10, "became longer")])
def test_a_video_that_changes_while_it_is_copied_is_an_error(change, message, tmp_path, monkeypatch):
    manifest = write_set(tmp_path / "videos", num_videos=1)
    path = manifest.samples[0].path
    monkeypatch.setattr(shards, "video_stamp", lambda path: (path.stat().st_size - change, 0))
    with pytest.raises(DataError, match=rf"no. 0.mp4: {message} during the copy"):
        write_shards(manifest, None, tmp_path / "s")
    assert path.exists() and not list((tmp_path / "s").glob("*.tar*"))


def test_a_video_in_a_shard_is_played_backwards(tmp_path):
    written = write_shards(write_set(tmp_path / "videos", num_videos=1, num_classes=1), None, tmp_path / "s")
    copies = write_reversed(load_manifest(written.train), tmp_path / "copies")
    assert [frame_indices(read_frames(s.path, range(3))) for s in copies.samples] == [[0, 1, 2], [2, 1, 0]]


def test_groups_are_in_the_lists_and_next_to_each_video(tmp_path: Path):
    plain = write_set(tmp_path / "videos", num_videos=5)
    groups = ["anna", "ben, at home", "", "anna", "cleo"]
    samples = tuple(replace(s, group=group) for s, group in zip(plain.samples, groups, strict=True))
    train, val = (Manifest(part, plain.class_names) for part in (samples[:3], samples[3:]))
    written = write_shards(train, val, tmp_path / "shards")
    about = {}
    for shard in written.shards:
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    content = json.loads(tar.extractfile(name).read())
                    about[content["file"]] = content.get("group", "")
    assert about == {sample.path.name: sample.group for sample in samples}
    for split, part in (("train", train), ("val", val)):
        listed = load_split(tmp_path / "shards", split)
        assert Counter((s.label, s.group) for s in listed.samples) == Counter((s.label, s.group) for s in part.samples)
