"""The benchmarks run on a GPU, with all that they measure there."""

import pytest

from timesformer.bench import cost, memory, model, train


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_forward_pass_is_timed(precision: str, device: str):
    result = model.run(preset="tiny", rounds=2, only=("ours block by block",), device=device, precision=precision)
    assert all(times.median > 0 for times in result.times.values())
    if device == "cuda":
        assert result.to_dict()["machine"]["gpu"]
        assert result.settings["tf32"] is False


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step_is_timed(precision: str, device: str):
    only = (train.CHECKPOINTED, train.PLAIN)
    result = train.run(preset="tiny", rounds=2, only=only, device=device, precision=precision, clips=4).to_dict()
    assert set(result["candidates"]) == {train.OURS, *only}
    assert all(candidate["median_s"] > 0 and candidate["memory_mb"] > 0 for candidate in result["candidates"].values())


def test_memory_is_that_of_more_clips_if_there_are_more(device: str):
    def above(clips: int) -> float:
        only = ("ours block by block",)
        found = memory.run(preset="small", rounds=1, only=only, device=device, precision="bf16", clips=clips)
        return found.details["ours block by block"]["above_weights_mb"]

    assert above(16) > above(2) > 0


def test_cost_is_that_of_more_clips_if_there_are_more(device: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cost, "CLIP_SIZES", ((2, 32),))
    one, three = (cost.run(preset="tiny", rounds=2, device=device, precision="bf16", clips=clips) for clips in (1, 3))
    name = "divided_space_time, 2 x 32"
    assert three.details[name]["gmac"] == pytest.approx(3 * one.details[name]["gmac"])
