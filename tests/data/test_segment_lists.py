"""Lists of segments: read, written, split, packed and copied, always by whole videos."""

import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.data.manifest.manifest import Manifest, Sample, load_manifest, load_split, split_manifest
from timesformer.data.manifest.model_classes import match_classes
from timesformer.data.manifest.rows import SEPARATORS
from timesformer.data.manifest.save import save_manifest
from timesformer.data.manifest.shard_writer import write_shards
from timesformer.data.synthetic.reversed import write_reversed
from timesformer.data.video.reader import open_reader, read_frames
from timesformer.data.video.segment import Segment, seconds_text, segment_name
from timesformer.errors import DataError
from videos import decode_all, frame_indices, write_video

TIMES = st.floats(0, 1e6, allow_nan=False)
SEGMENTS = st.tuples(TIMES, TIMES).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: Segment(*pair))


def write_list(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def read(folder: Path, text: str) -> Manifest:
    return load_manifest(write_list(folder, text), check_exists=False)


# --- Reading --------------------------------------------------------------------------------------------------------


def test_one_video_may_have_several_segments_and_classes(tmp_path: Path):
    manifest = read(tmp_path, "path,label,start,end\na.mp4,run,0,1.5\na.mp4,walk,1.5,4\nb.mp4,run,,\na.mp4,run,3,5\n")
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    assert manifest.class_names == ("run", "walk")
    assert manifest.samples == (
        Sample(a, 0, segment=Segment(0, 1.5)),
        Sample(a, 1, segment=Segment(1.5, 4)),
        Sample(b, 0),
        Sample(a, 0, segment=Segment(3, 5)),  # overlaps one of another class, which `check` reports
    )
    assert (manifest.has_segments, manifest.paths) == (True, (a, b))
    assert manifest.describe_size() == "4 segments of 2 videos"


def test_whole_video_has_one_class_also_next_to_its_segments(tmp_path: Path):
    for text, first, second in (
        ("a.mp4,run,,\na.mp4,walk,,\n", "line 3", "line 2"),
        ("a.mp4,run,,\na.mp4,walk,1,2\n", "line 3", "line 2"),
        ("a.mp4,walk,1,2\na.mp4,run,,\n", "line 2", "line 3"),
    ):
        message = rf"{first}: .*a\.mp4 has label 'walk' here and 'run' in {second}: a video has one label"
        with pytest.raises(DataError, match=message):
            read(tmp_path, "path,label,start,end\n" + text)
    assert len(read(tmp_path, "path,label,start,end\na.mp4,run,,\na.mp4,run,1,2\nb.mp4,walk,,\n").samples) == 3


def test_videos_of_segments_that_are_missing_are_counted_once(tmp_path: Path):
    write_video(tmp_path / "b.mp4", num_frames=3)
    text = "path,label,start,end\na.mp4,run,0,1\na.mp4,walk,1,2\nb.mp4,run,0,1\n"
    with pytest.raises(DataError, match=r"1 of 2 videos are missing: .*a\.mp4"):
        load_manifest(write_list(tmp_path, text))


def test_segments_keep_their_times_when_classes_are_matched(tmp_path: Path):
    manifest = read(tmp_path, "path,label,start,end\na.mp4,run,0,1\na.mp4,walk,1,2\n")
    matched = match_classes(manifest, labels=("walk", "jump", "run"), num_classes=3)
    assert [(sample.label, sample.segment) for sample in matched.samples] == [(2, (0, 1)), (0, (1, 2))]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0"), (1.5, "1.5"), (36000.25, "36000.25"), (1 / 3, "0.333"), (0.1 + 0.2, "0.3")]
)
def test_seconds_are_written_to_the_millisecond(seconds: float, text: str):
    assert seconds_text(seconds) == text
    assert segment_name("a.mp4", Segment(seconds, 1e5)) == f"a.mp4, {text} to 100000 s"
    assert segment_name("a.mp4", None) == "a.mp4"
    assert Sample(Path("a.mp4"), 0, segment=Segment(1, 2)).name == "a.mp4, 1 to 2 s"


# --- Writing --------------------------------------------------------------------------------------------------------


@given(
    samples=st.lists(
        st.tuples(st.sampled_from(["a.mp4", "b c.mkv", "d/é.avi"]), st.integers(0, 2), st.none() | SEGMENTS),
        min_size=1,
        max_size=8,
    ).filter(lambda rows: any(segment for _, _, segment in rows)),
    groups=st.booleans(),
    separator=st.sampled_from(sorted(SEPARATORS.values())),
)
@settings(deadline=None)
def test_saved_segments_are_read_back_to_the_last_bit(samples, groups, separator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("list")
    whole = {path: label for path, label, segment in samples if segment is None}
    manifest = Manifest(
        tuple(
            Sample(folder / path, whole.get(path, label), f"of {path[0]}" if groups else "", segment)
            for path, label, segment in samples
        ),
        ("run", "walk", "sit"),
    )
    save_manifest(manifest, folder / "list.csv", separator=separator)
    assert load_manifest(folder / "list.csv", check_exists=False) == manifest


def test_saved_list_has_columns_of_times_only_if_there_are_segments(tmp_path: Path):
    path, part = tmp_path / "a.mp4", Segment(0.1, 1 / 3)
    for sample, header in (
        (Sample(path, 0), ""),
        (Sample(path, 0, "g"), "path,label,group"),
        (Sample(path, 0, segment=part), "path,label,start,end"),
        (Sample(path, 0, "g", part), "path,label,start,end,group"),
    ):
        save_manifest(Manifest((sample,), ("run",)), tmp_path / "list.csv")
        lines = (tmp_path / "list.csv").read_text().splitlines()
        assert lines[:-1] == [header] * bool(header)
        assert lines[-1] == "a.mp4,0" + ",0.1,0.3333333333333333" * bool(sample.segment) + ",g" * bool(sample.group)


# --- Splits ---------------------------------------------------------------------------------------------------------


def manifest_of(videos: list[list[int]], *, groups: list[str] | None = None) -> Manifest:
    """Videos with one segment of each of the given classes, in the order of their times."""
    samples = [
        Sample(Path(f"{k}.mp4"), label, groups[k] if groups else "", Segment(start, start + 1))
        for start in range(max(map(len, videos)))
        for k, labels in enumerate(videos)
        for label in labels[start : start + 1]
    ]
    return Manifest(tuple(samples), ("a", "b", "c"))


def can_be_held_out(manifest: Manifest) -> bool:
    """Whether every class keeps a segment without some group, or, without groups, without some video."""
    units = {sample.group or sample.path for sample in manifest.samples}
    labels = {sample.label for sample in manifest.samples}
    return any({s.label for s in manifest.samples if (s.group or s.path) != unit} == labels for unit in units) or (
        not manifest.groups and has_class_of_two_videos(manifest)
    )


def has_class_of_two_videos(manifest: Manifest) -> bool:
    """Whether every video has one class, and a class has two videos."""
    pairs = {(sample.path, sample.label) for sample in manifest.samples}
    return len(pairs) == len(manifest.paths) > len({label for _, label in pairs})


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12),
    st.floats(0.05, 0.95),
    st.integers(0, 99),
    st.booleans(),
)
def test_no_video_is_on_both_sides_and_training_keeps_every_class(videos, fraction, seed, has_groups):
    groups = ["anna", "ben", "cleo"] if has_groups else None
    manifest = manifest_of(videos, groups=[groups[k % 3] for k in range(len(videos))] if groups else None)
    if not can_be_held_out(manifest):
        with pytest.raises(DataError, match=r"name validation videos \(val\)"):
            split_manifest(manifest, fraction=fraction, seed=seed)
        return
    train, val = split_manifest(manifest, fraction=fraction, seed=seed)
    assert (train, val) == split_manifest(manifest, fraction=fraction, seed=seed)
    assert set(train.paths).isdisjoint(val.paths)
    assert set(train.groups).isdisjoint(val.groups)
    assert Counter([*train.samples, *val.samples]) == Counter(manifest.samples)
    assert {sample.label for sample in train.samples} == {sample.label for sample in manifest.samples}
    assert val.samples


def test_about_the_fraction_of_the_segments_of_each_class_is_held_out():
    videos = [[k % 3, (k + 1) % 3] * 4 for k in range(30)]
    _, val = split_manifest(manifest_of(videos), fraction=0.2, seed=5)
    assert all(abs(count / 80 - 0.2) <= 0.05 for count in Counter(s.label for s in val.samples).values())
    assert len({sample.label for sample in val.samples}) == 3


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([[0, 1, 0]], r"all segments belong to one video \(0\.mp4\): nothing can be held out; name validation videos"),
        ([[0, 0], [1, 2]], r"each of 2 videos \(0\.mp4, 1\.mp4\) contains all segments of a class: none can be held"),
    ],
)
def test_videos_that_cannot_be_held_out_are_an_error(videos, message):
    with pytest.raises(DataError, match=message):
        split_manifest(manifest_of(videos), fraction=0.5, seed=0)


# --- Copies ---------------------------------------------------------------------------------------------------------


def test_video_is_packed_once_and_whole_and_its_list_keeps_the_segments(tmp_path: Path):
    clip, other = (write_video(tmp_path / f"{name}.mp4", num_frames=12, fps=6) for name in ("clip", "other"))
    parts = (Segment(0, 0.75), Segment(1 / 3, 2))
    train = Manifest(
        (Sample(clip, 1, "g", parts[0]), Sample(other, 0, "h"), Sample(clip, 0, "g", parts[1])), ("run", "walk")
    )
    val = Manifest((Sample(other, 0),), train.class_names)
    shards = tmp_path / "shards"
    written = write_shards(train, val, shards)
    listed, held_out = load_split(shards, "train"), load_split(shards, "val")
    assert Counter((s.path.name[8:], s.label, s.group, s.segment) for s in listed.samples) == Counter(
        (s.path.name, s.label, s.group, s.segment) for s in train.samples
    )
    assert held_out.samples[0].segment is None
    packed = next(sample.path for sample in listed.samples if sample.segment)
    assert (decode_all(clip) == read_frames(packed, range(12))).all()
    with tarfile.open(written.shards[0]) as tar:
        names = [name.split("_", 1)[1] for name in tar.getnames()]
        about = json.load(tar.extractfile(next(name for name in tar.getnames() if name.endswith("clip.json"))))
    assert sorted(names) == [
        "clip.json",
        "clip.mp4",
        "other.cls",
        "other.json",
        "other.mp4",
    ]  # clip has no single class
    assert about == {
        "segments": [
            {"label": 1, "class_name": "walk", "start": 0, "end": 0.75},
            {"label": 0, "class_name": "run", "start": 1 / 3, "end": 2},
        ],
        "file": "clip.mp4",
        "group": "g",
    }


def test_segments_are_copied_backwards_each_by_itself(tmp_path: Path):
    clip = write_video(tmp_path / "clip.mp4", num_frames=12, fps=6, codec_options={"qp": "0"})
    manifest = Manifest((Sample(clip, 0, segment=Segment(0, 0.5)), Sample(clip, 0, segment=Segment(1, 2))), ("run",))
    copies = write_reversed(manifest, tmp_path / "copies")
    frames = []
    for sample in copies.samples:
        assert sample.segment is None
        with open_reader(sample.path) as reader:
            frames.append(frame_indices(reader.read(range(reader.info.num_frames))))
    assert frames == [[0, 1, 2], [6, 7, 8, 9, 10, 11], [2, 1, 0], [11, 10, 9, 8, 7, 6]]
