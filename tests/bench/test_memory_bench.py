import pytest

from timesformer.bench import memory
from timesformer.bench.memory import OURS, run
from timesformer.bench.peak_memory import Peak
from timesformer.errors import ConfigError


def test_medians_are_given_as_fractions_of_the_median_of_transformers(monkeypatch: pytest.MonkeyPatch):
    peaks = iter([Peak(100, 130), Peak(100, 300), Peak(100, 150), Peak(100, 220), Peak(100, 140), Peak(100, 200)])
    asked: list[str] = []

    def peak_above(target: str, *, candidate: str, **_: object) -> Peak:
        asked.append(candidate)
        return next(peaks)

    monkeypatch.setattr(memory, "peak_above", peak_above)
    heard: list[int] = []
    found = run(preset="tiny", rounds=3, only=("transformers",), on_progress=lambda done, total: heard.append(done))
    candidates = found.to_dict()["candidates"]
    assert asked == [OURS, "transformers"] * 3
    assert heard == list(range(1, 7))
    assert candidates[OURS]["above_weights_mb"] == pytest.approx(40e-6)
    assert candidates[OURS]["fraction_of_transformers"] == pytest.approx(40 / 120)


@pytest.mark.slow  # 20 seconds: a process that imports everything for each implementation
def test_a_forward_pass_is_measured_in_a_separate_process():
    """The peak of a tiny clip may be too small to see, but its base is a whole process."""
    found = run(preset="tiny", rounds=1, only=("ours block by block",)).to_dict()
    assert all(candidate["weights_and_libraries_mb"] > 50 for candidate in found["candidates"].values())
    assert all(candidate["above_weights_mb"] >= 0 for candidate in found["candidates"].values())


def test_an_unknown_candidate_is_refused():
    with pytest.raises(ConfigError, match="'theirs' is not one of"):
        run(preset="tiny", rounds=1, only=("theirs",))
