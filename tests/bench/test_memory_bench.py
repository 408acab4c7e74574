import pytest

from timesformer.bench import memory
from timesformer.bench.memory import OURS, run
from timesformer.bench.peak_memory import Peak
from timesformer.errors import ConfigError


def test_the_median_of_each_way_stands_beside_that_of_transformers(monkeypatch: pytest.MonkeyPatch):
    peaks = iter([Peak(100, 130), Peak(100, 300), Peak(100, 150), Peak(100, 220), Peak(100, 140), Peak(100, 200)])
    asked: list[str] = []

    def peak_above(target: str, *, way: str, preset: str) -> Peak:
        asked.append(way)
        return next(peaks)

    monkeypatch.setattr(memory, "peak_above", peak_above)
    heard: list[int] = []
    found = run(preset="tiny", rounds=3, only=("transformers",), on_round=lambda done, total: heard.append(done))
    ways = found.to_dict()["ways"]
    assert asked == [OURS, "transformers"] * 3
    assert heard == list(range(1, 7))
    assert ways[OURS]["above_weights_mb"] == pytest.approx(40e-6)
    assert ways[OURS]["share_of_transformers"] == pytest.approx(40 / 120)


def test_a_forward_pass_is_measured_in_a_process_of_its_own():
    """The pass itself: a tiny clip, whose peak may be too small to see, but whose base is a whole process."""
    found = run(preset="tiny", rounds=1, only=("ours block by block",)).to_dict()
    assert all(way["weights_and_libraries_mb"] > 50 for way in found["ways"].values())
    assert all(way["above_weights_mb"] >= 0 for way in found["ways"].values())


def test_an_unknown_way_is_refused():
    with pytest.raises(ConfigError, match="'theirs' is not one of"):
        run(preset="tiny", rounds=1, only=("theirs",))
