"""`--precision auto` on every verb, and the note of what it would gain."""

import json
import re

import pytest
import torch

from processors import WITH_BF16, WITHOUT_BF16, claim
from timesformer.cli import precision_hint
from timesformer.export.onnx import export_onnx
from timesformer.inference.product_rates import ProductRates
from timesformer.weights.load import load

NOTE = "note: this {} multiplies matrices in bf16 2.1 times as fast as in fp32; --precision auto uses that\n"
VERBS_WITH_IT = ("predict", "evaluate", "embed", "train", "explain", "timeline", "serve", "search", "bench")
ON_CPU = NOTE.format("processor")
TINY = ("--set", "model.embed_dim=12", "--set", "model.depth=1", "--set", "model.num_heads=2", "--epochs", 1)


@pytest.fixture
def measured(monkeypatch):
    """A processor with bf16 that is 2.14 times as fast, on which every run is long; gives the measurements."""
    claim(monkeypatch, WITH_BF16)
    return _measuring(monkeypatch, gain=2.14)


def _measuring(monkeypatch, *, gain):
    measured = []

    def measure(config, device):
        measured.append((config.embed_dim, device.type))
        return ProductRates(fp32=1.0, bf16=gain)

    monkeypatch.setattr(precision_hint, "measure_product_rates", measure)
    monkeypatch.setattr(precision_hint, "_LEAST_MACS", 0)
    return measured


def train(run, video_folder, output, *more):
    return run("train", video_folder, "--model", "tiny", "--set", "data.num_workers=0", *TINY, "-o", output, *more)


# --- The note ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_predict_says_what_bf16_would_gain(run, model_folder, video_folder, measured, json_):
    status, out, err = run("predict", video_folder, "-m", model_folder, *json_)
    assert (status, err) == (0, ON_CPU)
    assert len([json.loads(line) for line in out.splitlines()] if json_ else re.findall(r"\.mp4", out)) == 6
    assert measured == [(12, "cpu")]


def test_evaluate_says_it(run, model_folder, video_folder, measured):
    status, out, err = run("evaluate", video_folder, "-m", model_folder, "--num-workers", 0, "--json")
    assert (status, err) == (0, ON_CPU)
    assert "bf16" not in json.loads(out)["protocol"]


def test_train_says_it_first_unless_it_goes_on(run, video_folder, tmp_path, measured):
    status, _, err = train(run, video_folder, tmp_path / "run")
    assert status == 0
    assert err.startswith(ON_CPU)
    assert err.count("note:") == 1
    status, _, err = train(run, video_folder, tmp_path / "run", "--resume")
    assert status == 0
    assert "note:" not in err
    assert measured == [(12, "cpu")]


def test_jobs_say_it_when_they_begin_and_not_when_they_go_on(run, model_folder, video_folder, tmp_path, measured):
    predict = ("predict", video_folder, "-m", model_folder, "--job", tmp_path / "predictions")
    embed = ("embed", video_folder, "-m", model_folder, "--output", tmp_path / "embeddings")
    for command, expected in ((predict, ON_CPU), (embed, ON_CPU), (embed, ""), ((*embed, "--overwrite"), ON_CPU)):
        assert run(*command)[::2] == (0, expected)


@pytest.mark.parametrize("more", [("--precision", "fp32"), ("--precision", "auto"), ("--quiet",)])
def test_nothing_is_measured_if_the_precision_is_chosen_or_the_run_is_quiet(
    run, model_folder, video_folder, measured, more
):
    for command in (("predict", video_folder), ("evaluate", video_folder, "--num-workers", 0)):
        assert run(*command, "-m", model_folder, *more)[::2] == (0, "")
    assert measured == []


@pytest.mark.parametrize("given", ["option", "set", "config", "quiet"])
def test_training_with_a_chosen_precision_has_no_note(run, video_folder, tmp_path, measured, given):
    (tmp_path / "run.toml").write_text('precision = "fp32"\n[model]\nimage_size = 32\n')
    more = {
        "option": ("--model", "tiny", "--precision", "fp32"),
        "set": ("--model", "tiny", "--set", "precision=fp32"),
        "config": ("--config", tmp_path / "run.toml"),
        "quiet": ("--model", "tiny", "--quiet"),
    }[given]
    base = ("train", video_folder, "--set", "data.num_workers=0", *TINY, "-o", tmp_path / "run", *more)
    status, _, err = run(*base)
    assert status == 0
    assert "note:" not in err
    assert measured == []


def test_an_onnx_file_has_no_note(run, model_folder, video_folder, tmp_path, measured):
    file = export_onnx(load(model_folder), tmp_path / "m.onnx").path
    assert run("predict", video_folder, "-m", file)[::2] == (0, "")
    assert measured == []


@pytest.mark.parametrize(("gain", "expected"), [(1.29, ""), (1.3, ON_CPU.replace("2.1", "1.3"))])
def test_a_small_gain_is_not_worth_a_note(monkeypatch, run, model_folder, video_folder, gain, expected):
    claim(monkeypatch, WITH_BF16)
    _measuring(monkeypatch, gain=gain)
    assert run("predict", video_folder, "-m", model_folder)[::2] == (0, expected)


def test_a_processor_without_bf16_has_no_note(monkeypatch, run, model_folder, video_folder, measured):
    claim(monkeypatch, WITHOUT_BF16)
    assert run("predict", video_folder, "-m", model_folder)[::2] == (0, "")
    assert measured == []


def test_a_short_run_has_no_note(monkeypatch, run, model_folder, video_folder, measured):
    monkeypatch.setattr(precision_hint, "measure_product_rates", lambda config, device: ProductRates(1e9, 4e9))
    assert run("predict", video_folder, "-m", model_folder)[::2] == (0, "")  # six clips of less than a mega-MAC


def test_little_work_is_not_measured(monkeypatch, run, model_folder, video_folder, measured):
    monkeypatch.setattr(precision_hint, "_LEAST_MACS", 1e11)
    assert run("predict", video_folder, "-m", model_folder)[::2] == (0, "")
    assert measured == []


def test_a_gpu_is_called_a_gpu(monkeypatch, run, model_folder, video_folder, measured):
    monkeypatch.setattr(precision_hint, "resolve_device", lambda name: torch.device("cuda:0"))
    monkeypatch.setattr(precision_hint, "computes_bf16_faster", lambda device: True)
    assert run("predict", video_folder, "-m", model_folder)[::2] == (0, NOTE.format("GPU"))


# --- `--precision auto` -----------------------------------------------------------------------------------------------


@pytest.fixture(params=[(WITH_BF16, "bf16"), (WITHOUT_BF16, "fp32")], ids=["bf16", "fp32"])
def resolved(request, monkeypatch):
    """What `auto` is on the processor that is claimed."""
    processor, precision = request.param
    claim(monkeypatch, processor)
    return precision


def test_predict_with_auto_gives_the_result_of_the_precision_that_it_is(run, model_folder, video_folder, resolved):
    base = ("predict", video_folder, "-m", model_folder, "--json", "--precision")
    automatic, named = (run(*base, name) for name in ("auto", resolved))
    assert automatic == named
    assert automatic[::2] == (0, "")


def test_evaluate_with_auto_names_bf16_in_its_protocol(run, model_folder, video_folder, resolved):
    base = ("evaluate", video_folder, "-m", model_folder, "--num-workers", 0, "--json", "--precision")
    automatic, named = (run(*base, name) for name in ("auto", resolved))
    assert automatic == named
    assert json.loads(automatic[1])["protocol"].endswith(", computed in bf16") == (resolved == "bf16")


def test_train_with_auto_records_the_precision_that_it_is(run, video_folder, tmp_path, resolved):
    assert train(run, video_folder, tmp_path / "run", "--precision", "auto")[0] == 0
    assert f'precision = "{resolved}"' in (tmp_path / "run/config.toml").read_text()


def test_explain_by_occlusion_takes_auto(run, model_folder, video_folder, tmp_path, resolved):
    base = ("explain", video_folder / "shrink/0.mp4", "-m", model_folder, "--method", "occlusion", "--json")
    results = [run(*base, "-o", tmp_path / f"{each}", "--precision", each) for each in ("auto", resolved)]
    assert [status for status, *_ in results] == [0, 0]
    automatic, named = (json.loads(out)["probability"] for _, out, _ in results)
    assert automatic == named


def test_timeline_takes_auto(run, model_folder, video_folder, resolved):
    base = ("timeline", video_folder / "shrink/0.mp4", "-m", model_folder, "--window", 0.1, "--json", "--precision")
    automatic, named = (run(*base, name) for name in ("auto", resolved))
    assert automatic == named
    assert automatic[0] == 0


def test_bench_says_which_precision_auto_is(run, resolved):
    only = ("--rounds", 1, "--only", "ours block by block", "--json")
    status, out, _ = run("bench", "model", "-m", "tiny", *only, "--precision", "auto")
    assert status == 0
    assert json.loads(out)["settings"]["precision"] == resolved


@pytest.mark.parametrize("verb", VERBS_WITH_IT)
def test_help_says_what_auto_is(run, verb):
    status, out, _ = run(verb, "--help")
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", out).split())
    assert status == 0
    assert "Floating-point type: auto is bf16 where the GPU or CPU computes it faster, else fp32" in text


def test_a_head_has_no_precision(run, tmp_path):
    status, _, err = run("train", "--features", tmp_path, "--precision", "auto")
    assert (status, err) == (2, "error: --precision: no effect with --features, which trains a head in one step\n")


def test_contributions_have_no_precision(run, model_folder, video_folder, tmp_path):
    status, _, err = run("explain", video_folder, "-m", model_folder, "-o", tmp_path, "--precision", "auto")
    assert status == 2
    assert "precision='auto' has no effect on method='contribution', only on method='occlusion'" in err
