"""`precision="auto"` of a run: chosen once, recorded, and kept by a run that is resumed elsewhere."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from processors import WITH_BF16, WITHOUT_BF16, claim
from timesformer.config.io import read_config
from timesformer.config.run import RunConfig
from timesformer.errors import ConfigError
from timesformer.training.dry_run import dry_run_as_dict, format_dry_run, make_dry_run
from timesformer.training.precision import check_precision, chosen_precision
from timesformer.training.train import train
from training_runs import Stopped, are_equal, quiet, raise_at, weights_of

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize(("processor", "expected"), [(WITH_BF16, "bf16"), (WITHOUT_BF16, "fp32")])


@pytest.fixture(autouse=True)
def _plain_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing the curve, which takes longer than a tiny run and is tested elsewhere."""
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())


def _recorded(run: RunConfig) -> str:
    return read_config(Path(run.output) / "config.toml", kind=RunConfig).precision


@BOTH
@pytest.mark.parametrize("strategy", ["auto", "fsdp"])
def test_auto_trains_in_the_precision_that_it_records(monkeypatch, run, tmp_path, processor, expected, strategy):
    claim(monkeypatch, processor)
    automatic = replace(run, epochs=1, precision="auto", strategy=strategy)
    named = replace(automatic, precision=expected, output=str(tmp_path / "named"))
    for each in (automatic, named):
        train(each, on_message=quiet)
    assert _recorded(automatic) == _recorded(named) == expected
    if strategy == "auto":  # a sharded checkpoint has no weights of its own
        assert are_equal(weights_of(automatic.output), weights_of(named.output))
        assert all(weight.dtype == torch.float32 for weight in weights_of(automatic.output).values())


def test_a_run_that_is_resumed_elsewhere_keeps_its_precision(monkeypatch, run, tmp_path, caplog):
    automatic = replace(run, epochs=2, precision="auto")
    named = replace(run, epochs=2, precision="bf16", output=str(tmp_path / "named"))
    for each in (automatic, named):
        claim(monkeypatch, WITH_BF16)
        with pytest.raises(Stopped):
            train(each, on_message=raise_at("epoch 1", Stopped()))
        claim(monkeypatch, WITHOUT_BF16)
        train(each, resume=True, on_message=quiet)
    assert _recorded(automatic) == "bf16"
    assert "precision='bf16': this CPU has no instructions for it" in caplog.text
    assert are_equal(weights_of(automatic.output), weights_of(named.output))


def test_another_precision_than_that_of_the_run_is_refused(monkeypatch, run):
    claim(monkeypatch, WITH_BF16)
    automatic = replace(run, epochs=2, precision="auto")
    with pytest.raises(Stopped):
        train(automatic, on_message=raise_at("epoch 1", Stopped()))
    with pytest.raises(ConfigError, match="precision was 'bf16' and is 'fp32'"):
        train(replace(automatic, precision="fp32"), resume=True, on_message=quiet)


@BOTH
def test_auto_is_chosen_by_the_device_of_a_new_run(monkeypatch, run, tmp_path, processor, expected):
    claim(monkeypatch, processor)
    automatic = replace(run, precision="auto")
    for resumed in (None, tmp_path / "missing.toml"):
        assert chosen_precision(automatic, CPU, resumed=resumed) == expected
    assert chosen_precision(replace(run, precision="fp16"), CPU, resumed=None) == "fp16"


@pytest.mark.parametrize(
    ("processor", "precision", "lines"),
    [(WITHOUT_BF16, "bf16", 1), (WITHOUT_BF16, "auto", 0), (WITHOUT_BF16, "fp32", 0), (WITH_BF16, "bf16", 0)],
)
def test_slow_half_precision_is_a_warning(monkeypatch, run, caplog, processor, precision, lines):
    claim(monkeypatch, processor)
    check_precision(replace(run, precision=precision), CPU)
    assert [record.message for record in caplog.records] == lines * [
        "precision='bf16': this CPU has no instructions for it and computes it several times more slowly than 'fp32'; "
        "'auto' takes the faster one"
    ]


@BOTH
def test_a_dry_run_says_which_precision_auto_is(monkeypatch, run, processor, expected):
    claim(monkeypatch, processor)
    automatic, named = (make_dry_run(replace(run, precision=name)) for name in ("auto", expected))
    assert f"precision     {expected} on cpu\n" in format_dry_run(automatic)
    assert dry_run_as_dict(automatic)["run"]["precision"] == expected
    assert automatic.memory.activations_per_clip == named.memory.activations_per_clip


def test_a_dry_run_for_a_missing_gpu_leaves_auto_open(monkeypatch, run):
    claim(monkeypatch, WITH_BF16)
    assert "precision     auto on cuda (not available)\n" in format_dry_run(
        make_dry_run(replace(run, precision="auto", device="cuda"))
    )
