"""Rows of `check --job`, and the findings that are made from them."""

import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from planted_faults import plant
from timesformer.data.check.data_check import assess, check_dataset, present_files
from timesformer.data.check.fingerprint import Fingerprint, fingerprint
from timesformer.data.check.listing import read_listing
from timesformer.jobs.check import CheckTask, scans_of
from timesformer.jobs.item import Item
from videos import touch, write_video


def _rows(task, paths):
    """Rows of a task that was sent to a worker, through the Arrow table that a part holds."""
    task = pickle.loads(pickle.dumps(task))
    items = [Item(path=str(path)) for path in paths]
    with task.open() as compute:
        rows = list(compute(items))
    columns = pa.schema([("id", pa.string()), *task.schema])
    named = [{"id": item.path, **row} for item, row in zip(items, rows, strict=True)]
    assert [set(row) for row in named] == [set(columns.names)] * len(rows)
    return pa.Table.from_pylist(named, schema=columns).to_pylist()


def _scans(rows, quarantined=()):
    """Scans of rows whose ids are their paths."""
    paths = {row["id"]: Path(row["id"]) for row in [*rows, *quarantined]}
    return scans_of(paths, rows=rows, quarantined=quarantined)


def _checked(source, **options):
    listing = read_listing(source)
    rows = _rows(CheckTask(with_times=listing.has_segments), present_files(listing))
    scans = _scans(rows)
    return assess(
        source, listing, fingerprints=scans.fingerprints, frame_times=scans.frame_times, num_frames=8, **options
    )


def test_findings_equal_those_of_a_plain_check(tmp_path):
    folder = plant(tmp_path / "planted")
    assert _checked(folder).to_dict() == check_dataset(folder).to_dict()


def test_segments_are_checked_by_the_times_in_the_rows(tmp_path):
    write_video(tmp_path / "a.mp4", num_frames=50)
    lines = ["path,label,start,end", "a.mp4,wave,0,1", "a.mp4,clap,0.5,1.5", "a.mp4,wave,1.6,9"]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    found = _checked(tmp_path / "all.csv").to_dict()
    assert found == check_dataset(tmp_path / "all.csv").to_dict()
    assert {"conflicting_segment", "bad_segment"} <= set(found["counts"])


def test_a_file_that_killed_its_worker_is_unreadable(tmp_path):
    video = touch(tmp_path, "wave/a.mp4") / "wave/a.mp4"
    scans = _scans([], [{"id": str(video), "reason": "the process was killed"}])
    found = assess(tmp_path, read_listing(tmp_path), fingerprints=scans.fingerprints, frame_times={}, num_frames=8)
    assert [(each.kind, each.reason) for each in found.findings] == [("unreadable", "the process was killed")]


def test_a_file_that_changed_after_its_scan_is_named(tmp_path):
    videos = [write_video(tmp_path / f"{number}.mp4") for number in range(2)]
    rows = _rows(CheckTask(), videos)
    assert _scans(rows).changed == []
    write_video(videos[1], num_frames=12)
    assert _scans(rows).changed == [videos[1]]


def test_a_row_gives_the_fingerprint_back(tmp_path):
    video = write_video(tmp_path / "a.mp4")
    [found] = _scans(_rows(CheckTask(), [video])).fingerprints.values()
    expected = fingerprint(video)
    for each in fields(Fingerprint):
        np.testing.assert_array_equal(getattr(found, each.name), getattr(expected, each.name), err_msg=each.name)
