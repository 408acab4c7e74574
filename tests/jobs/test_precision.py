"""`precision="auto"` of a job: chosen by the machine that starts it, and the same for all of its rows."""

import json

import pytest

from job_tasks import items_of, run_here
from processors import WITH_BF16, WITHOUT_BF16, claim
from timesformer.config.compute import ComputeOptions
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError
from timesformer.export.onnx import export_onnx
from timesformer.jobs.embed import embed_task
from timesformer.jobs.predict import predict_task
from timesformer.jobs.run import run_job
from timesformer.jobs.timeline import timeline_task
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config

AUTO, BF16, FP32 = (ComputeOptions(precision=name, device="cpu") for name in ("auto", "bf16", "fp32"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder."""
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), clip_seconds=1.0)
    return str(save(random_model(tiny_config(), info=info), tmp_path_factory.mktemp("model") / "tiny"))


def _timelines(model, options):
    windows = {"window": 1.0, "stride": 0.5, "mode": "exclusive"}
    return timeline_task(model, **windows, given={}, options=options, overrides={})


TASKS = {
    "predict": lambda model, options: predict_task(model, options=options),
    "embed": lambda model, options: embed_task(model, folder="job", options=options),
    "timeline": _timelines,
}


@pytest.mark.parametrize(("processor", "expected"), [(WITH_BF16, "bf16"), (WITHOUT_BF16, "fp32")])
@pytest.mark.parametrize("verb", TASKS)
def test_workers_get_the_precision_that_the_settings_record(monkeypatch, model, verb, processor, expected):
    claim(monkeypatch, processor)
    task = TASKS[verb](model, AUTO)
    assert task.settings["precision"] == expected
    assert (task.options if verb == "timeline" else task.video_model.options).precision == expected
    named = TASKS[verb](model, BF16 if expected == "bf16" else FP32)
    assert dict(task.settings) == dict(named.settings)


def test_an_onnx_file_has_the_settings_of_the_default(monkeypatch, model, tmp_path):
    claim(monkeypatch, WITH_BF16)
    file = export_onnx(load(model), tmp_path / "m.onnx").path
    assert predict_task(file, options=AUTO).settings == predict_task(file).settings


def test_a_job_that_goes_on_elsewhere_mixes_no_precisions(monkeypatch, model, tmp_path):
    items, folder = items_of("missing.mp4"), tmp_path / "job"
    claim(monkeypatch, WITH_BF16)
    run_job(predict_task(model, options=AUTO), items, folder, engine=run_here)
    assert json.loads((folder / "job.json").read_text())["settings"]["precision"] == "bf16"
    claim(monkeypatch, WITHOUT_BF16)
    message = (
        r"holds another job: precision was 'bf16' and is 'fp32' \(precision='bf16', --precision bf16, goes on with the "
        r"job; auto depends on the machine\)\. "
    )
    with pytest.raises(ConfigError, match=message):
        run_job(predict_task(model, options=AUTO), items, folder, engine=run_here)
    summary = run_job(predict_task(model, options=BF16), items, folder, engine=run_here)
    assert (summary.num_computed, summary.num_quarantined) == (0, 1)
