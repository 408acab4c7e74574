"""Inputs of the probe: their clip settings, and the choice among them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from timesformer.config.io import read_config
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError
from timesformer.fine_tuning import probe_stage
from timesformer.fine_tuning.folder import ProbeFolder
from timesformer.fine_tuning.inputs import input_clips
from timesformer.fine_tuning.run import fine_tune
from timesformer.weights.load import load
from training_runs import quiet


def test_moments_are_channels_and_motion_also_loses_what_stands_still():
    clip = ClipConfig(sampling="segment", num_crops=1, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    found = input_clips(clip, ("motion", "given", "moments"))
    assert list(found) == ["motion", "given", "moments"]
    assert found["given"] == clip
    assert found["moments"] == replace(clip, channel_order="time")
    assert found["motion"] == replace(
        clip, channel_order="time", background="remove", mean=(0.5, 0.5, 0.5), std=(0.15, 0.15, 0.15)
    )


def test_equal_inputs_are_tried_once():
    clip = ClipConfig(sampling="segment", channel_order="time")
    assert list(input_clips(clip, ("given", "moments", "motion"))) == ["given", "motion"]
    assert list(input_clips(clip, ("moments", "given"))) == ["moments"]


def test_inputs_without_a_probe_or_unknown_or_none_are_refused():
    with pytest.raises(ConfigError, match=r"probe_inputs=\['motion'\] has no effect without probe_views"):
        RunConfig(probe_inputs=("motion",))
    with pytest.raises(ConfigError, match=r"probe_inputs=\[\] leaves nothing to probe"):
        RunConfig(init_from="x", probe_views=1, probe_inputs=())
    with pytest.raises(ConfigError, match="probe_inputs='flow'"):
        RunConfig(init_from="x", probe_views=1, probe_inputs=("flow",))  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize("best", ["given", "moments", "motion"])
def test_input_with_the_lowest_nll_is_that_of_both_models(
    probed: RunConfig, monkeypatch: pytest.MonkeyPatch, best: str
):
    fit: Callable = probe_stage.fit_probe
    wanted = [name == best for name in ("given", "moments", "motion")]

    def fitted(*args, **kwargs):
        found = fit(*args, **kwargs)
        score = next(score for score in found.scores if score.strength == found.strength)
        scores = tuple(
            replace(each, nll=0.25 if wanted[0] else 9.0) if each is score else each for each in found.scores
        )
        wanted.pop(0)
        return replace(found, scores=scores)

    monkeypatch.setattr(probe_stage, "fit_probe", fitted)
    monkeypatch.setattr("timesformer.fine_tuning.probe.STRENGTHS", (0.1, 1.0))
    run = replace(probed, epochs=1, probe_inputs=("given", "moments", "motion"))
    said: list[str] = []
    result = fine_tune(run, on_message=said.append)
    clip = input_clips(run.clip, run.probe_inputs)[best]
    folder = ProbeFolder(Path(run.output))
    assert f"probe: input {best} of given, moments, motion" in said
    assert (result.input, [score.name for score in result.inputs]) == (best, ["given", "moments", "motion"])
    assert load(result.probe.model).info.clip == load(result.model).info.clip == clip
    assert read_config(folder.fine_tuning.config, kind=RunConfig).clip == clip
    told = json.loads(folder.result.read_text())
    assert (told["probe"]["input"], told["inputs"][best]["nll"]) == (best, 0.25)
    assert "three moments in the channels" in folder.report.read_text()


def test_features_of_all_inputs_are_computed_once(probed: RunConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("timesformer.fine_tuning.probe.STRENGTHS", (0.1, 1.0))
    run = replace(probed, probe_inputs=("given", "motion"))
    fine_tune(run, until="probe", on_message=quiet)
    monkeypatch.setattr("timesformer.fine_tuning.features._features", None)  # whatever computes now fails
    fine_tune(run, until="probe", resume=True, on_message=quiet)
