import json
import os
import shutil

import numpy as np
import pytest

from timesformer.data.check.cache import CACHE_FILE, FingerprintCache, cache_path, fingerprint_all
from timesformer.data.check.scan import Scanner
from timesformer.errors import ConfigError
from videos import write_video


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "data").mkdir()
    paths = [write_video(tmp_path / f"data/{number}.mp4", num_frames=5 + number) for number in range(3)]
    (tmp_path / "data/3.mp4").write_text("no video")
    return [*paths, tmp_path / "data/3.mp4"]


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded, in order."""
    names = []

    scan = Scanner.scan

    def watched(scanner, path):
        names.append(path.name)
        return scan(scanner, path)

    monkeypatch.setattr(Scanner, "scan", watched)
    return names


def run(paths, **options):
    with FingerprintCache(cache_path(paths[0].parent)) as cache:
        return fingerprint_all(paths, cache=cache, **options)


def test_a_second_run_decodes_nothing_and_finds_the_same(paths, decoded):
    first = run(paths)
    assert decoded == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    second = run(paths)
    assert len(decoded) == 4
    for path in paths:
        for name in ("digest", "error", "num_frames", "num_missing", "num_damaged", "height", "width", "fps", "timing"):
            assert getattr(second[path], name) == getattr(first[path], name)
        np.testing.assert_array_equal(second[path].thumbnails, first[path].thumbnails)
    assert [first[path].num_frames for path in paths] == [5, 6, 7, 0]


def test_a_file_that_changed_is_decoded_again(paths, decoded):
    run(paths)
    decoded.clear()
    write_video(paths[1], num_frames=20)
    os.utime(paths[2], ns=(0, 12345))
    assert run(paths)[paths[1]].num_frames == 20
    assert decoded == ["1.mp4", "2.mp4"]
    run(paths)
    assert len(decoded) == 2


def test_a_cache_that_moved_with_its_data_set_is_valid(paths, decoded, tmp_path):
    run(paths)
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    decoded.clear()
    run([tmp_path / "elsewhere" / path.name for path in paths])
    assert decoded == []


@pytest.mark.parametrize(
    "damage", [b"\xff\x00 no json", b'{"format": 1}', b'[1, 2]\n"x"\n', b'{"format": 99, "path": 1}']
)
def test_damage_costs_only_the_damaged_lines(paths, decoded, damage):
    run(paths)
    cache = paths[0].parent / CACHE_FILE
    lines = cache.read_bytes().split(b"\n")
    lines[2] = damage
    cache.write_bytes(b"\n".join(lines)[:-20])
    decoded.clear()
    assert run(paths)[paths[3]].error != ""
    assert decoded == ["1.mp4", "3.mp4"]
    run(paths)
    assert len(decoded) == 2


def test_an_interrupted_run_keeps_what_was_done(paths, decoded, monkeypatch):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(paths, on_progress=interrupt)
    decoded.clear()
    run(paths)
    assert decoded == ["2.mp4", "3.mp4"]


def test_lines_that_were_replaced_do_not_pile_up(paths, decoded):
    for turn in range(50):
        os.utime(paths[0], ns=(0, turn))
        run(paths)
    lines = (paths[0].parent / CACHE_FILE).read_text().split("\n")
    assert len(lines) < 45
    run(paths)
    names = [json.loads(line)["path"] for line in (paths[0].parent / CACHE_FILE).read_text().split("\n") if line]
    assert len(names) <= 2 * 4 + 33


def test_a_folder_that_cannot_be_written_uses_the_users_cache(paths, decoded, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    run(paths)
    run(paths)
    assert len(decoded) == 4
    assert cache_path(paths[0].parent).parent == tmp_path / "home/timesformer"
    assert not (paths[0].parent / CACHE_FILE).exists()


def test_a_cache_that_cannot_be_written_is_a_warning(paths, caplog, tmp_path):
    (tmp_path / "file").touch()
    with FingerprintCache(tmp_path / "file/cache") as cache:
        assert fingerprint_all(paths, cache=cache)[paths[0]].num_frames == 5
    assert "cannot be cached for the next run" in caplog.text


def test_processes_find_what_one_process_finds(paths, monkeypatch, tmp_path):
    seen = []
    alone = run(paths)
    (paths[0].parent / CACHE_FILE).unlink()
    together = run(paths, num_workers=2, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 4) for done in range(5)]
    assert {path: found.digest for path, found in together.items()} == {p: f.digest for p, f in alone.items()}
    assert together[paths[3]].error == alone[paths[3]].error


def test_a_negative_number_of_processes_is_refused(paths):
    with pytest.raises(ConfigError, match="num_workers=-1"):
        run(paths, num_workers=-1)


def test_the_cache_of_a_part_of_a_file_lies_next_to_the_file(tmp_path):
    (tmp_path / "activity_net.json").touch()
    for source in (tmp_path, tmp_path / "activity_net.json", tmp_path / "activity_net.json" / "training"):
        assert cache_path(source) == tmp_path / CACHE_FILE
