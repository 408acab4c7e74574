import pytest
import torch

from timesformer.bench import baselines, model
from timesformer.bench.model import OURS, run
from timesformer.errors import ConfigError, DependencyError

pytestmark = pytest.mark.xdist_group("transformers")  # one process pays for the import
EXACT = ("ours block by block", "transformers")


def test_exact_ways_agree_and_all_are_timed():
    result = run(preset="tiny", rounds=2, only=EXACT).to_dict()
    assert set(result["ways"]) == {OURS, *EXACT}
    assert all(way["rounds"] == 2 and way["median_s"] > 0 for way in result["ways"].values())
    assert set(result["agreement"]) == set(result["speedup_of_ours"]) == set(EXACT)
    assert max(result["agreement"].values()) < 1e-4
    assert 0 < result["setting"]["gmac_of_ours"] < result["setting"]["gmac"]
    assert result["machine"]["torch"]


def test_more_clips_are_more_work():
    one, three = (run(preset="tiny", rounds=1, only=("ours block by block",), clips=clips) for clips in (1, 3))
    assert three.setting["clips"] == 3
    assert three.setting["gmac"] == pytest.approx(3 * one.setting["gmac"])
    assert three.setting["gmac_of_ours"] == pytest.approx(3 * one.setting["gmac_of_ours"])


class Shifted(torch.nn.Module):
    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.module(clips) + 0.5


def test_a_way_that_answers_otherwise_shows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(model.BUILDERS, "wrong", lambda module, clip: Shifted(module))
    result = run(preset="tiny", rounds=1, only=("wrong",))
    assert result.agreement["wrong"] == pytest.approx(0.5, abs=1e-3)


def test_a_way_whose_library_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    def missing(module: object, clip: object) -> None:
        raise DependencyError("it is not installed")

    monkeypatch.setitem(model.BUILDERS, "transformers", missing)
    monkeypatch.setattr(model, "BUILDERS", {name: model.BUILDERS[name] for name in (OURS, "transformers")})
    result = run(preset="tiny", rounds=1)
    assert result.absent["transformers"] == "it is not installed"
    assert "transformers" not in result.timings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "bse"}, "did you mean 'base'"),
        ({"preset": "tiny", "only": ("onnx!",)}, "'onnx!' is not one of"),
        ({"preset": "tiny", "clips": 0}, "clips=0"),
    ],
)
def test_what_is_not_there_is_refused(arguments: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        run(rounds=1, **arguments)


def test_random_weights_leave_nothing_at_zero():
    from timesformer.config.presets import PRESETS
    from timesformer.model import TimeSformer

    module = baselines.random_weights(TimeSformer(PRESETS["tiny"]))
    assert all(parameter.abs().min() > 0 for parameter in module.parameters())
