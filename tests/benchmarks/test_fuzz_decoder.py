"""Damaged videos through all readers: nothing dies, hangs or fails unexpectedly, and the runner would tell."""

import json
import time
from pathlib import Path

import pytest

import fuzz_decoder
import mutated_videos
from timesformer.errors import DecodeError
from timesformer.isolation.child import isolated
from timesformer.isolation.limits import Limits

LIMITS = Limits(memory=2**30, call_s=60, total_s=60)
CODECS = ("h264", "hevc", "mpeg4", "mjpeg", "vp9", "av1", "ffv1", "gif")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    encoders = mutated_videos._encoders()
    suffixes = (".mp4", ".mkv", ".avi", ".ts", ".gif")
    return [
        mutated_videos.Source(path.name, suffix, path.read_bytes())
        for codec in CODECS
        for suffix in suffixes
        if mutated_videos._write(path := folder / f"{codec}{suffix}", codec=codec, encoder=encoders[codec])
    ]


def test_150_damaged_files_are_read_or_refused(sources):
    found = fuzz_decoder.fuzz(sources, num_files=150, seed=7, limits=LIMITS, on_progress=lambda done: None)
    assert found["findings"] == []
    assert found["deaths_of_children"] == {}
    for counts in found["outcomes"].values():
        assert sum(counts.values()) == 150
        assert counts["read"] >= 20 and counts["refused"] >= 20
    assert found["parent_grew_mib"] < 100
    json.dumps(found)


def test_the_same_seed_gives_the_same_files(sources):
    files = [mutated_videos.mutate(sources, seed=3, number=number) for number in range(40)]
    assert files == [mutated_videos.mutate(sources, seed=3, number=number) for number in range(40)]
    assert len({content for _, content, _ in files}) == 40
    assert files != [mutated_videos.mutate(sources, seed=4, number=number) for number in range(40)]


def test_every_kind_of_damage_changes_a_file(sources):
    kinds = {mutated_videos.mutate(sources, seed=0, number=number)[2].split("+")[0] for number in range(300)}
    assert kinds == set(mutated_videos._MUTATIONS)
    changed = [mutated_videos.mutate(sources, seed=0, number=number) for number in range(100)]
    assert sum(source.content != content for source, content, _ in changed) > 90


@pytest.mark.parametrize(
    ("name", "limits", "death"),
    [
        ("crash", LIMITS, "crashed (SIGSEGV)"),
        ("hang", Limits(memory=2**30, call_s=0.3), "gave no result for 0.3 s"),
        ("swell", Limits(memory=2**27, call_s=60), "needed more than 128 MiB of memory"),
    ],
)
def test_a_death_is_a_finding_with_the_number_of_its_file(name, limits, death, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "data"))
    tally = fuzz_decoder.Tally()
    with isolated("lurking_decoder:open_faults", limits=limits) as child:
        tally.add({"number": 5}, child, tmp_path / f"{name}.mp4")
    assert tally.deaths == {death: 1}
    assert tally.findings[0]["number"] == 5 and tally.findings[0]["death"] == death


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DecodeError("x"), "refused"),
        (MemoryError(), "out of memory"),
        (ZeroDivisionError(), "unexpected ZeroDivisionError"),
    ],
)
def test_only_a_decode_error_is_expected(error, kind):
    def read():
        raise error

    assert fuzz_decoder._outcome(read)[0] == kind


def test_an_unexpected_error_is_a_finding(tmp_path, monkeypatch):
    tally = fuzz_decoder.Tally()

    class Child:
        def call(self, path):
            time.sleep(0.01)
            return {"scan": ("read", ""), "frames": ("unexpected KeyError", "trace"), "sequence": ("read", "")}, 2**20

    tally.add({"number": 9}, Child(), tmp_path / "a.mp4")
    assert tally.findings == [{"number": 9, "reader": "frames", "error": "unexpected KeyError", "detail": "trace"}]
    assert tally.slowest["number"] == 9 and tally.peak_child_bytes == 2**20
