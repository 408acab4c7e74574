import pytest
import torch

from timesformer.bench import memory
from timesformer.bench.memory import OURS, run
from timesformer.bench.peak_memory import Peak
from timesformer.errors import ConfigError, TimeSformerError


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


def test_a_baseline_that_fails_is_named_and_ours_must_run(monkeypatch: pytest.MonkeyPatch):
    def peak_above(target: str, *, candidate: str, **_: object) -> Peak:
        if candidate in failing:
            raise TimeSformerError(f"{candidate} failed\nwith a second line")
        return Peak(1, 3)

    monkeypatch.setattr(memory, "peak_above", peak_above)
    failing = ["transformers"]
    found = run(preset="tiny", rounds=2)
    assert found.unavailable == {"transformers": "transformers failed"}
    assert list(found.details) == [OURS, "ours block by block"]
    failing.append(OURS)
    with pytest.raises(TimeSformerError, match="ours failed"):
        run(preset="tiny", rounds=2)


def test_clips_and_precision_reach_the_separate_process(monkeypatch: pytest.MonkeyPatch):
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(memory, "peak_above", lambda target, **arguments: asked.append(arguments) or Peak(1, 3))
    found = run(preset="tiny", rounds=1, only=(OURS,), clips=5, precision="bf16")
    assert asked[0] | {"clips": 5, "precision": "bf16", "preset": "tiny"} == asked[0]
    assert found.title.startswith("Memory of 5 x 8 x 32")
    assert memory.prepare(OURS, "tiny", precision="bf16", clips=2)().shape == (2, 12)


def test_memory_of_an_apple_gpu_is_not_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "resolve_device", torch.device)
    with pytest.raises(ConfigError, match="device='mps': memory is measured on a CPU or a CUDA GPU"):
        run(preset="tiny", rounds=1, device="mps")
