"""`precision="auto"` of an experiment: one precision for all of its trainings."""

from dataclasses import replace
from pathlib import Path

import pytest

from processors import WITH_BF16, WITHOUT_BF16, claim
from timesformer.reproduce import runner
from timesformer.reproduce.experiments import define
from timesformer.reproduce.sizes import SIZES, laptop_run


class _Planned(Exception):
    """What ends an experiment after its plan."""


@pytest.mark.parametrize(("processor", "expected"), [(WITH_BF16, "bf16"), (WITHOUT_BF16, "fp32")])
def test_all_trainings_have_the_precision_that_auto_is(monkeypatch, tmp_path: Path, processor, expected):
    claim(monkeypatch, processor)

    def planned(experiment, videos, folder, *, seeds):
        raise _Planned(*(training.run(experiment.base).precision for training in experiment.trainings))

    monkeypatch.setattr(runner, "_plan", planned)
    base = replace(laptop_run("schemes"), precision="auto", device="cpu")
    with pytest.raises(_Planned) as stop:
        runner.run_experiment(define("schemes", base, SIZES["laptop"]), {}, tmp_path, scale="laptop")
    assert set(stop.value.args) == {expected}
