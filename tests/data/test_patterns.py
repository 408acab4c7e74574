from pathlib import Path

import pytest

from timesformer.data.manifest.patterns import find_matches

NAMES = (
    "day [1]/a.mp4", "day [1]/b.mp4", "day 1/c.mp4", "day 2/d.mp4", "deep/day [1]/e.mp4", "deep/day 1/f.mp4",
    "[HD] x.mp4", "H x.mp4", "take_1.mp4", "take_2.mp4", "odd/*/g.mp4", "odd/h/i.mp4", "[1-2].mp4",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("day [1]/*.mp4", ["day [1]/a.mp4", "day [1]/b.mp4"]),
        ("day [12]/*.mp4", ["day 1/c.mp4", "day 2/d.mp4"]),
        ("*/day [1]/*.mp4", ["deep/day [1]/e.mp4"]),
        ("day [1]/[ab].mp4", ["day [1]/a.mp4", "day [1]/b.mp4"]),
        ("[HD] *.mp4", ["[HD] x.mp4"]),
        ("[H] *.mp4", ["H x.mp4"]),
        ("take_[12].mp4", ["take_1.mp4", "take_2.mp4"]),
        ("odd/*/*.mp4", ["odd/*/g.mp4"]),
        ("odd/?/*.mp4", ["odd/*/g.mp4", "odd/h/i.mp4"]),
        ("**/e.mp4", ["deep/day [1]/e.mp4"]),
        ("deep/**/*.mp4", ["deep/day 1/f.mp4", "deep/day [1]/e.mp4"]),
        ("day [1]/c.mp4", []),
        ("none/*.mp4", []),
        ("take_1.mp4/*", []),
    ],
)
def test_an_existing_literal_name_wins_over_the_pattern(folder, pattern, expected, monkeypatch):
    assert [path.relative_to(folder).as_posix() for path in find_matches(folder / pattern)] == expected
    monkeypatch.chdir(folder)
    assert [path.as_posix() for path in find_matches(Path(pattern))] == expected
