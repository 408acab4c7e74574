import pytest
import torch

from timesformer.bench import baselines, model
from timesformer.bench.model import OURS, run
from timesformer.errors import ConfigError, DependencyError

pytestmark = pytest.mark.xdist_group("transformers")  # one process pays for the import
EXACT = ("ours block by block", "transformers")


def test_exact_implementations_agree_and_all_are_timed():
    result = run(preset="tiny", rounds=2, only=EXACT).to_dict()
    assert set(result["candidates"]) == {OURS, *EXACT}
    assert all(candidate["rounds"] == 2 and candidate["median_s"] > 0 for candidate in result["candidates"].values())
    assert set(result["max_difference"]) == set(result["speedup_of_ours"]) == set(EXACT)
    assert max(result["max_difference"].values()) < 1e-4
    assert 0 < result["settings"]["gmac_of_ours"] < result["settings"]["gmac"]
    assert result["machine"]["torch"]


def test_more_clips_are_more_work():
    one, three = (run(preset="tiny", rounds=1, only=("ours block by block",), clips=clips) for clips in (1, 3))
    assert three.settings["clips"] == 3
    assert three.settings["gmac"] == pytest.approx(3 * one.settings["gmac"])
    assert three.settings["gmac_of_ours"] == pytest.approx(3 * one.settings["gmac_of_ours"])


class Shifted(torch.nn.Module):
    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.module(clips) + 0.5


def test_different_logits_show(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(model.BUILDERS, "wrong", lambda module, clip: Shifted(module))
    result = run(preset="tiny", rounds=1, only=("wrong",))
    assert result.max_difference["wrong"] == pytest.approx(0.5, abs=1e-3)


def test_an_implementation_whose_library_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    def missing(module: object, clip: object) -> None:
        raise DependencyError("it is not installed")

    monkeypatch.setitem(model.BUILDERS, "transformers", missing)
    monkeypatch.setattr(model, "BUILDERS", {name: model.BUILDERS[name] for name in (OURS, "transformers")})
    result = run(preset="tiny", rounds=1)
    assert result.unavailable["transformers"] == "it is not installed"
    assert "transformers" not in result.times


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "bse"}, "did you mean 'base'"),
        ({"preset": "tiny", "only": ("onnx!",)}, "'onnx!' is not one of"),
        ({"preset": "tiny", "clips": 0}, "clips=0"),
    ],
)
def test_unknown_names_and_zero_clips_are_refused(arguments: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        run(rounds=1, **arguments)


def test_random_weights_leave_nothing_at_zero():
    from timesformer.config.presets import PRESETS
    from timesformer.model import TimeSformer

    module = baselines.random_weights(TimeSformer(PRESETS["tiny"]))
    assert all(parameter.abs().min() > 0 for parameter in module.parameters())
