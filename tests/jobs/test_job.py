"""Jobs with a task that computes nothing: what lies in the folder, and how a job goes on."""

import json
import os
import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from job_tasks import NameTask, bytes_of, computed, items_of, quarantine_of, rows_of, run_backwards, run_here
from timesformer.errors import ConfigError, DataError
from timesformer.jobs.folder import Shard
from timesformer.jobs.item import Item
from timesformer.jobs.recorder import Flush
from timesformer.jobs.run import run_job

NAMES = [f"{number:02d}.mp4" for number in range(11)]


def run(task, items, folder, **options):
    return run_job(task, items, folder, **{"engine": run_here, **options})


def test_every_item_has_a_row_in_the_order_of_the_items(tmp_path):
    summary = run(NameTask(), items_of(*NAMES), tmp_path / "job", engine=run_backwards)
    rows = rows_of(tmp_path / "job")
    assert [row["path"] for row in rows] == [f"/data/{name}" for name in NAMES]
    assert [row["length"] for row in rows] == [6] * 11
    assert (summary.num_items, summary.num_rows, summary.num_quarantined, summary.num_left) == (11, 11, 0, 0)
    assert not list((tmp_path / "job/parts").iterdir())


def test_rows_name_their_job_and_have_unique_ids(tmp_path):
    run(NameTask(), items_of(*NAMES), tmp_path / "job")
    table = pq.read_table(tmp_path / "job/rows")
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["timesformer.verb"] == "names"
    assert metadata["timesformer.model_sha256"] == "0" * 64
    assert json.loads(metadata["timesformer.settings"]) == {"top_k": 2}
    ids = table["id"].to_pylist()
    assert len(set(ids)) == 11
    assert all(re.fullmatch(r"[0-9a-f]{64}", each) for each in ids)


def test_id_depends_on_path_segment_model_and_settings(tmp_path):
    tasks = [NameTask(), NameTask(model_sha256="1" * 64), NameTask(settings={"top_k": 3})]
    items = [Item(path="/a"), Item(path="/b"), Item(path="/a", start=1.0, end=2.0), Item(path="/a", start=1.0, end=2.5)]
    ids = set()
    for number, task in enumerate(tasks):
        run(task, items, tmp_path / str(number))
        ids |= {row["id"] for row in rows_of(tmp_path / str(number))}
    assert len(ids) == 12


def test_items_without_a_row_are_in_quarantine(tmp_path):
    summary = run(NameTask(), items_of("0", "bad1", "2", "bad3"), tmp_path / "job")
    assert (summary.num_rows, summary.num_quarantined) == (2, 2)
    entries = quarantine_of(tmp_path / "job")
    assert [entry["path"] for entry in entries] == ["/data/bad1", "/data/bad3"]
    assert entries[0].keys() == {"id", "path", "start", "end", "reason", "signal", "attempts", "stderr"}
    assert (entries[0]["reason"], entries[0]["signal"], entries[0]["attempts"]) == ("/data/bad1: is bad", "", 1)
    assert len(entries[0]["id"]) == 64


def test_finished_job_computes_nothing_again(tmp_path):
    task = NameTask(log=str(tmp_path / "log"))
    items = items_of("0", "bad1", *NAMES)
    run(task, items, tmp_path / "job")
    before = bytes_of(tmp_path / "job")
    summary = run(task, items, tmp_path / "job")
    assert (summary.num_computed, summary.num_rows, summary.num_quarantined) == (0, 12, 1)
    assert len(computed(tmp_path / "log")) == 13
    assert bytes_of(tmp_path / "job") == before


def test_retry_computes_the_quarantine_again_and_nothing_else(tmp_path):
    task = NameTask(log=str(tmp_path / "log"))
    items = items_of("0", "bad1", "2", "bad3", "4")
    run(task, items, tmp_path / "job")
    (tmp_path / "log").unlink()
    summary = run(task, items, tmp_path / "job", retry=True)
    assert computed(tmp_path / "log") == ["/data/bad1", "/data/bad3"]
    assert (summary.num_rows, summary.num_quarantined, summary.num_computed) == (3, 2, 2)
    assert [entry["path"] for entry in quarantine_of(tmp_path / "job")] == ["/data/bad1", "/data/bad3"]


def test_item_that_a_retry_computes_takes_its_place_and_leaves_the_quarantine(tmp_path, monkeypatch):
    items = items_of("0", "bad1", "2", "3")
    run(NameTask(), items, tmp_path / "job")
    monkeypatch.setattr(NameTask, "_result", lambda self, name, item, together: {"length": 9, "together": []})
    summary = run(NameTask(), items, tmp_path / "job", retry=True)
    assert (summary.num_rows, summary.num_quarantined) == (4, 0)
    assert [row["path"] for row in rows_of(tmp_path / "job")] == [item.path for item in items]
    assert quarantine_of(tmp_path / "job") == []


def test_files_have_a_fixed_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("timesformer.jobs.compaction.compact.__kwdefaults__", {"rows_per_file": 4})
    run(NameTask(), items_of("bad", *NAMES), tmp_path / "job", flush=Flush(rows=3))
    files = sorted((tmp_path / "job/rows").iterdir())
    assert [path.name for path in files] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert [pq.read_table(path).num_rows for path in files] == [4, 4, 3]


@pytest.mark.parametrize("flush", [Flush(rows=1), Flush(rows=5), Flush(seconds=0.0)])
@pytest.mark.parametrize("engine", [run_here, run_backwards])
def test_rows_are_the_same_bytes_however_they_were_written(tmp_path, engine, flush):
    items = items_of("bad", *NAMES)
    run(NameTask(), items, tmp_path / "plain")
    run(NameTask(), items, tmp_path / "job", engine=engine, flush=flush)
    assert bytes_of(tmp_path / "job") == bytes_of(tmp_path / "plain")


def test_names_of_any_bytes(tmp_path):
    names = [os.fsdecode(b"caf\xe9.mp4"), "a\nb.mp4", 'q"u\\o.mp4', "日本.mp4", os.fsdecode(b"bad\xff"), " x "]
    task = NameTask(log=str(tmp_path / "log"))
    for _ in range(2):
        run(task, items_of(*names), tmp_path / "job")
    assert [row["path"] for row in rows_of(tmp_path / "job")] == [
        "/data/caf\\xe9.mp4", "/data/a\nb.mp4", '/data/q"u\\o.mp4', "/data/日本.mp4", "/data/ x ",
    ]  # fmt: skip
    assert rows_of(tmp_path / "job")[0]["together"][0] == "caf\\xe9.mp4"
    assert quarantine_of(tmp_path / "job")[0]["path"] == f"/data/{names[4]}"
    assert pq.read_table(tmp_path / "job/manifest.parquet")["path"].to_pylist()[0] == b"/data/caf\xe9.mp4"
    assert len("\n".join(computed(tmp_path / "log")).split("/data/")) == 7


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
def test_path_that_no_file_can_have_is_refused(tmp_path, path):
    with pytest.raises(ConfigError, match="cannot be the path of a file"):
        run(NameTask(), [Item(path=path)], tmp_path / "job")


def test_repeated_items_are_computed_once(tmp_path, caplog):
    summary = run(NameTask(), items_of("b", "a", "b", "a", "c"), tmp_path / "job")
    assert summary.num_rows == 3
    assert [row["path"] for row in rows_of(tmp_path / "job")] == ["/data/b", "/data/a", "/data/c"]
    assert "2 items are given again, and are left out" in caplog.text


def test_job_of_no_items_is_done(tmp_path):
    assert run(NameTask(), [], tmp_path / "job").num_items == 0


def test_progress_counts_what_earlier_starts_have_done(tmp_path):
    items, seen = items_of("bad", *NAMES), []
    run(NameTask(), items, tmp_path / "job", shard=Shard(index=0, count=2))
    run(NameTask(), items, tmp_path / "job", on_progress=seen.append)
    assert [(now.done, now.total, now.quarantined) for now in seen] == [(6, 12, 1), (9, 12, 1), (12, 12, 1)]
    assert seen[0].left_s is None
    assert seen[-1].left_s == 0.0
    assert seen[-1].per_second > 0


@pytest.mark.parametrize(
    ("task", "names", "message"),
    [
        (NameTask(model_sha256="f" * 64), NAMES, "holds another job: model_sha256 was '000.*' and is 'fff.*'. Repeat"),
        (NameTask(settings={"top_k": 5}), NAMES, "holds another job: top_k was 2 and is 5. Repeat the command that"),
        (NameTask(settings={"top_k": 2, "x": 1}), NAMES, "holds another job: x was None and is 1. Repeat"),
        (NameTask(), NAMES[1:], r"holds another job: 1 items were removed \(such as /data/00.mp4\). Repeat"),
        (NameTask(), [*NAMES, "x", "y"], r"holds another job: 2 items were added \(such as /data/x\). Repeat"),
        (
            NameTask(),
            [*NAMES[1:], "x"],
            r"1 items were added \(such as /data/x\); 1 items were removed \(such as /data",
        ),
        (NameTask(), NAMES[::-1], "holds another job: its items were in another order. Repeat"),
    ],
)
def test_other_job_is_refused_with_its_differences(tmp_path, task, names, message):
    run(NameTask(), items_of(*NAMES), tmp_path / "job")
    before = bytes_of(tmp_path / "job")
    with pytest.raises(ConfigError, match=message) as info:
        run(task, items_of(*names), tmp_path / "job")
    assert "name another folder, or pass overwrite=True (--overwrite) to remove it" in str(info.value)
    assert bytes_of(tmp_path / "job") == before


def test_overwrite_starts_anew(tmp_path):
    run(NameTask(), items_of("bad", *NAMES), tmp_path / "job")
    summary = run(NameTask(), items_of("a", "b"), tmp_path / "job", overwrite=True)
    assert (summary.num_computed, summary.num_rows, summary.num_quarantined) == (2, 2, 0)
    assert len((tmp_path / "job/runs.jsonl").read_text().splitlines()) == 1


def test_relative_paths_need_the_same_working_folder(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    run(NameTask(), [Item(path="a.mp4")], tmp_path / "job")
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"working_folder was '.*' and is '.*Repeat"):
        run(NameTask(), [Item(path="a.mp4")], tmp_path / "job")
    run(NameTask(), items_of("a"), tmp_path / "absolute")
    monkeypatch.chdir(tmp_path)
    run(NameTask(), items_of("a"), tmp_path / "absolute")


def test_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"is not empty and is not that of a job \(such as thesis.tex\)"):
        run(NameTask(), items_of("a"), tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_damaged_part_is_an_error_that_says_what_to_do(tmp_path):
    items = items_of(*NAMES)
    run(NameTask(), items, tmp_path / "job", shard=Shard(index=0, count=2))
    (part,) = (tmp_path / "job/parts").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match=r"part-.*parquet: cannot be read: .*; delete this file, and its rows are comp"):
        run(NameTask(), items, tmp_path / "job")
    part.unlink()
    assert run(NameTask(), items, tmp_path / "job").num_rows == 11


def test_damaged_line_of_the_quarantine_is_named(tmp_path):
    items = items_of("bad", *NAMES)
    run(NameTask(), items, tmp_path / "job")
    path = tmp_path / "job/quarantine.jsonl"
    path.write_text("{broken\n" + path.read_text())
    with pytest.raises(DataError, match=r"quarantine.jsonl, line 1: is damaged; delete this line, and its item"):
        run(NameTask(), items, tmp_path / "job")


def test_torn_last_line_of_the_quarantine_is_repaired(tmp_path):
    task, items = NameTask(log=str(tmp_path / "log")), items_of("bad1", "bad2", "c")
    run(task, items, tmp_path / "job")
    path = tmp_path / "job/quarantine.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    (tmp_path / "log").unlink()
    summary = run(task, items, tmp_path / "job")
    assert computed(tmp_path / "log") == ["/data/bad2"]
    assert (summary.num_rows, summary.num_quarantined) == (1, 2)
    assert [entry["path"] for entry in quarantine_of(tmp_path / "job")] == ["/data/bad1", "/data/bad2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "job.json: cannot be read"), ('{"format_version": 9}', "format_version=9, this release reads 1")],
)
def test_damaged_job_file_is_an_error(tmp_path, content, message):
    run(NameTask(), items_of("a"), tmp_path / "job")
    (tmp_path / "job/job.json").write_text(content)
    with pytest.raises(DataError, match=message):
        run(NameTask(), items_of("a"), tmp_path / "job")


def test_missing_manifest_does_not_matter_to_the_same_job(tmp_path):
    run(NameTask(), items_of("a"), tmp_path / "job")
    (tmp_path / "job/manifest.parquet").unlink()
    assert run(NameTask(), items_of("a"), tmp_path / "job").num_rows == 1
    with pytest.raises(DataError, match=r"manifest.parquet: is missing, and the job cannot be compared"):
        run(NameTask(), items_of("b"), tmp_path / "job")


def test_chunks_stay_as_the_first_start_has_cut_them(tmp_path):
    items = items_of(*NAMES)
    run(NameTask(chunk_size=4), items, tmp_path / "whole")
    run(NameTask(chunk_size=4), items, tmp_path / "job", shard=Shard(index=1, count=2))
    run(replace(NameTask(), chunk_size=2), items, tmp_path / "job")
    assert bytes_of(tmp_path / "job") == bytes_of(tmp_path / "whole")


def test_each_start_is_recorded(tmp_path):
    for _ in range(2):
        run(NameTask(), items_of("a"), tmp_path / "job")
    starts = [json.loads(line) for line in (tmp_path / "job/runs.jsonl").read_text().splitlines()]
    assert len(starts) == 2
    assert starts[0]["engine"] == "here"
    assert starts[0]["workers"] == 1
    assert starts[0]["threads"] == 1
    assert starts[0]["versions"].keys() == {"timesformer", "python", "torch", "av", "pyarrow"}
