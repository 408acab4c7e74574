import errno
import importlib
import io
import logging
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from statistics import median
from typing import Any

import pytest
import torch
from rich.console import Console

import timesformer.training
from timesformer.config.io import read_config
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.reader import probe
from timesformer.errors import ConfigError, DecodeError, DependencyError, TimeSformerError, WeightsError
from timesformer.evaluation.evaluate import evaluate
from timesformer.training.callbacks import DirectCheckpointIO, Recorder
from timesformer.training.dataloaders import Split, load_data, validation_of, with_num_classes
from timesformer.training.history import best_epoch, read_metrics
from timesformer.training.init_weights import initial_model
from timesformer.training.train import is_finished, train
from timesformer.weights.load import load
from training_runs import Stopped, are_equal, quiet, raise_at, weights_of

# --- What a run leaves behind ---------------------------------------------------------------------------------------


def test_run_leaves_its_files_and_no_others(run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = train(run, on_message=quiet)
    assert folder == Path(run.output)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "config.toml",
        "metrics.csv",
        "curve.png",
        "model/config.json",
        "model/labels.txt",
        "model/model.safetensors",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    }
    assert not list((tmp_path / "here").iterdir())


def test_config_is_that_of_the_run_with_the_classes_of_the_data(finished: RunConfig):
    written = read_config(Path(finished.output) / "config.toml", kind=RunConfig)
    assert written == replace(finished, model=replace(finished.model, num_classes=3))


def test_model_folder_holds_the_best_epoch_with_labels_and_clips(finished: RunConfig):
    model = load(finished.output)
    history = read_metrics(Path(finished.output) / "metrics.csv")
    best = torch.load(Path(finished.output) / "checkpoints" / "best.ckpt", weights_only=True)
    assert are_equal(model.state_dict(), weights_of(finished.output, "best"))
    assert len(best["callbacks"]["Recorder"]["history"]) == best_epoch(history).epoch
    assert model.info.labels == ("grow", "move_left", "move_right")
    assert model.info.clip == finished.clip


def test_model_folder_tells_the_median_length_of_the_training_clips(finished: RunConfig):
    lengths = [probe(sample.path).duration_s for sample in load_data(finished.data, seed=finished.seed).train.samples]
    assert load(finished.output).info.clip_seconds == round(median(lengths), 6) > 0


def test_metrics_have_a_row_for_each_epoch(finished: RunConfig):
    history = read_metrics(Path(finished.output) / "metrics.csv")
    assert [record.epoch for record in history] == [1, 2, 3]
    assert [record.step for record in history] == [3, 6, 9]
    assert all(0 <= record.val_accuracy <= record.val_top5_accuracy == 1 for record in history)
    assert all(record.train_accuracy * 12 == pytest.approx(round(record.train_accuracy * 12)) for record in history)
    assert history[0].lr > history[1].lr > history[2].lr > 0


def test_validation_accuracy_equals_evaluate_with_one_view(finished: RunConfig):
    best = best_epoch(read_metrics(Path(finished.output) / "metrics.csv"))
    evaluation = evaluate(load(finished.output), validation_of(finished), device="cpu", num_workers=0)
    assert evaluation.top1 == pytest.approx(best.val_accuracy)


def test_messages_name_the_data_every_epoch_and_the_model(run: RunConfig):
    lines: list[str] = []
    train(run, on_message=lines.append)
    assert (
        lines[0] == "training: 12 videos of 3 classes, 6 for validation (no groups: persons and places may be in both)"
        "; 3 epochs of 3 steps on cpu"
    )
    assert [line.split(":")[0] for line in lines[1:4]] == ["epoch 1", "epoch 2", "epoch 3"]
    assert lines[-1].startswith("best validation accuracy: ")
    assert lines[-1].endswith(f"its model is {Path(run.output) / 'model'}")


def test_lines_go_to_the_log_without_a_terminal(run: RunConfig, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        train(replace(run, epochs=1))
    names = {record.name for record in caplog.records}
    assert "epoch 1: loss" in caplog.text
    assert not any(name.startswith("lightning") for name in names)


def test_terminal_shows_a_bar_with_the_epochs_above_it(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    text = io.StringIO()
    monkeypatch.setattr(
        "timesformer.training.train.Console",
        lambda **options: Console(**{**options, "file": text, "force_terminal": True, "width": 120}),
    )
    train(replace(run, data=replace(run.data, cache=True)))
    shown = text.getvalue()
    assert "epoch 3: loss" in shown
    assert "trained" in shown
    assert "9/9" in shown
    assert "decoding" in shown


# --- What is kept, and when it ends -----------------------------------------------------------------------------------


def _rate(run: RunConfig, accuracies: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Train with these validation accuracies; gives the lines of the run."""
    rates = iter(accuracies)
    record = Recorder._record
    monkeypatch.setattr(Recorder, "_record", lambda *args: replace(record(*args), val_accuracy=next(rates)))
    lines: list[str] = []
    train(run, on_message=lines.append)
    return lines


def test_last_model_is_kept_if_the_run_says_so(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    lines = _rate(replace(run, keep="last"), [0.5, 0.75, 0.25], monkeypatch)
    assert are_equal(load(run.output).state_dict(), weights_of(run.output, "last"))
    best = torch.load(Path(run.output) / "checkpoints" / "best.ckpt", weights_only=True)
    assert len(best["callbacks"]["Recorder"]["history"]) == 2
    model = Path(run.output) / "model"
    assert lines[-1] == f"best validation accuracy: 75.0% in epoch 2; the model of epoch 3 is {model}"


def test_best_model_is_kept_if_later_ones_are_worse(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    _rate(run, [0.5, 0.75, 0.25], monkeypatch)
    assert are_equal(load(run.output).state_dict(), weights_of(run.output, "best"))
    assert not are_equal(load(run.output).state_dict(), weights_of(run.output, "last"))


def test_run_ends_early_when_its_patience_ends_and_is_not_resumed(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    patient = replace(run, epochs=9, patience=2)
    lines = _rate(patient, [0.5, 0.75, 0.5, 0.75], monkeypatch)
    assert lines[-1].startswith("stopped early: no better epoch among the last 2; best validation accuracy: 75.0%")
    assert len(read_metrics(Path(run.output) / "metrics.csv")) == 4
    assert is_finished(patient)
    before = weights_of(run.output)
    again: list[str] = []
    train(patient, resume=True, on_message=again.append)
    assert again[0] == "nothing left to do: 4 of 9 epochs are done"
    assert are_equal(weights_of(run.output), before)


def test_skipped_videos_are_counted_in_the_table_and_in_the_line(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    split = load_data(run.data, seed=0)
    broken = [Sample(Path(run.output).parent / f"{name}.mp4", 0) for name in ("a", "b", "c")]
    for sample in broken:
        sample.path.write_bytes(b"no video")
    train_too = Manifest((*split.train.samples, *broken[:2]), split.train.class_names)
    val_too = Manifest((*split.val.samples, broken[2]), split.val.class_names)
    monkeypatch.setattr("timesformer.training.train.load_data", lambda data, seed: Split(train_too, val_too))
    lines: list[str] = []
    train(replace(run, epochs=1, data=replace(run.data, on_decode_error="skip")), on_message=lines.append)
    history = read_metrics(Path(run.output) / "metrics.csv")
    assert (history[0].train_skipped, history[0].val_skipped) == (2, 1)
    assert lines[1].endswith("; skipped 2 training and 1 validation videos")


# --- Precision and micro-batches --------------------------------------------------------------------------------------


def test_half_precision_that_needs_a_gpu_is_refused_without_one(run: RunConfig):
    with pytest.raises(ConfigError, match="precision='fp16' needs a GPU; use 'fp32' on the CPU"):
        train(replace(run, precision="fp16"), on_message=quiet)
    assert not Path(run.output).exists()


def test_half_precision_trains_and_saves_fp32_weights(run: RunConfig):
    train(replace(run, epochs=1, precision="bf16"), on_message=quiet)
    assert all(weight.dtype == torch.float32 for weight in load(run.output).state_dict().values())


def test_micro_batches_take_the_step_of_the_whole_batch(run: RunConfig, tmp_path: Path):
    optim = OptimConfig(optimizer="sgd", lr=0.1)
    model = replace(run.model, dropout=0.0, drop_path=0.0)
    whole = replace(run, model=model, optim=optim, batch_size=6)
    divided = replace(whole, accumulate=3, output=str(tmp_path / "divided"))
    for each in (whole, divided):
        train(each, on_message=quiet)
    torch.testing.assert_close(weights_of(divided.output), weights_of(whole.output))
    measured = [read_metrics(Path(each.output) / "metrics.csv")[-1] for each in (whole, divided)]
    assert [record.step for record in measured] == [6, 6]
    assert measured[0].lr == measured[1].lr


# --- What stops a run -----------------------------------------------------------------------------------------------


def test_existing_run_stops_another_one(finished: RunConfig):
    with pytest.raises(ConfigError, match="already holds a run"):
        train(finished, on_message=quiet)
    with pytest.raises(ConfigError, match="exclude each other"):
        train(finished, resume=True, overwrite=True, on_message=quiet)
    with pytest.raises(ConfigError, match="the run to resume has another config: seed was 0 and is 5"):
        train(replace(finished, seed=5), resume=True, on_message=quiet)


def test_overwriting_leaves_nothing_of_the_run_before(finished: RunConfig, run: RunConfig, tmp_path: Path):
    shutil.copytree(finished.output, run.output)
    shorter = replace(run, epochs=1)
    train(shorter, overwrite=True, on_message=quiet)
    fresh = replace(shorter, output=str(tmp_path / "fresh"))
    train(fresh, on_message=quiet)
    assert are_equal(weights_of(run.output), weights_of(fresh.output))
    assert are_equal(load(run.output).state_dict(), load(fresh.output).state_dict())
    assert len(read_metrics(Path(run.output) / "metrics.csv")) == 1


def test_overwritten_run_is_gone_before_the_first_step(finished: RunConfig, run: RunConfig):
    shutil.copytree(finished.output, run.output)
    with pytest.raises(Stopped):
        train(run, overwrite=True, on_message=raise_at("training", Stopped()))
    assert [path.name for path in Path(run.output).rglob("*") if path.is_file()] == ["config.toml"]


def test_nothing_to_resume_is_an_error(run: RunConfig):
    with pytest.raises(ConfigError, match="holds no run to resume"):
        train(run, resume=True, on_message=quiet)


def test_run_that_cannot_start_destroys_nothing(finished: RunConfig):
    before = weights_of(finished.output)
    with pytest.raises(ConfigError, match=r"data\.train is empty"):
        train(replace(finished, data=DataConfig()), overwrite=True, on_message=quiet)
    deeper = replace(finished, init_from=finished.output, model=replace(finished.model, depth=5))
    with pytest.raises(WeightsError, match="depth=5 is more than the 2 blocks of the weights"):
        train(deeper, overwrite=True, on_message=quiet)
    assert are_equal(weights_of(finished.output), before)


def test_unknown_device_is_refused(run: RunConfig):
    with pytest.raises(ConfigError, match="device='gpu'"):
        train(replace(run, device="gpu"), on_message=quiet)
    assert not Path(run.output).exists()


def test_loss_that_explodes_stops_the_run_with_its_step(run: RunConfig):
    wild = replace(run, optim=OptimConfig(optimizer="sgd", lr=1e30, clip_grad_norm=0.0))
    with pytest.raises(TimeSformerError, match=r"the loss is (nan|inf) at step \d .epoch 1.: .*a lower optim\.lr"):
        train(wild, on_message=quiet)


def test_clipping_bounds_the_change_of_the_weights(run: RunConfig):
    optim = OptimConfig(optimizer="sgd", lr=1.0, weight_decay=0.0, clip_grad_norm=1e-4)
    train(replace(run, optim=optim), on_message=quiet)
    start = initial_model(with_num_classes(run, load_data(run.data, seed=0)), labels=("a", "b", "c")).state_dict()
    end = weights_of(run.output)
    distance = sum((end[name] - start[name]).square().sum() for name in start).sqrt()
    # 9 steps of at most 1e-4 each, at most 10 times that with momentum
    assert 0 < distance < 9 * 1e-3


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_video_stops_the_run_with_its_name(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    split = load_data(run.data, seed=0)
    bad = split._replace(train=Manifest((*split.train.samples, Sample(broken, 0)), split.train.class_names))
    monkeypatch.setattr("timesformer.training.train.load_data", lambda data, seed: bad)
    with pytest.raises(DecodeError, match=r"broken\.mp4") as caught:
        train(replace(run, data=replace(run.data, num_workers=num_workers)), on_message=quiet)
    assert "Traceback" not in str(caught.value)


def test_interrupted_run_says_how_to_resume_and_can_be_interrupted_again(run: RunConfig):
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 2 of 3 epochs"):
        train(run, on_message=interrupt)
    assert lines[-1].endswith("pass resume=True (--resume) to continue")
    assert signal.getsignal(signal.SIGINT) is handler
    assert (Path(run.output) / "curve.png").exists()
    assert len(read_metrics(Path(run.output) / "metrics.csv")) == 2


@pytest.mark.parametrize(
    ("writer", "message"),
    [
        ("timesformer.weights.model_folder.save_file", r"model: cannot be written: .*No space left on device"),
        ("timesformer.training.callbacks.torch.save", r"last\.ckpt: cannot be written: No space left on device"),
        ("timesformer.training.callbacks.shutil.copyfile", r"best\.ckpt: cannot be written: No space left on device"),
        ("timesformer.files.os.fsync", r"best\.ckpt: cannot be written: Read-only file system"),
    ],
)
def test_disk_that_refuses_stops_the_run_which_goes_on_once_it_does_not(
    finished: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, message: str
):
    monkeypatch.setattr("timesformer.training.callbacks.best_epoch", lambda history: history[-1])  # write all, always
    run = replace(finished, output=str(tmp_path / "run"))
    metrics, write = Path(run.output) / "metrics.csv", resolve_name(writer)
    reason = errno.EROFS if "Read-only" in message else errno.ENOSPC

    def write_or_refuse(*arguments: Any, **options: Any) -> Any:
        if metrics.exists():  # in the second epoch
            raise OSError(reason, os.strerror(reason))
        return write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(writer, write_or_refuse)
        with pytest.raises(TimeSformerError, match=message):
            train(run, on_message=quiet)
    assert not list(Path(run.output).rglob(".*"))
    kept = torch.load(Path(run.output) / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(kept["callbacks"]["Recorder"]["history"]) == 1
    train(run, resume=True, on_message=quiet)
    assert are_equal(weights_of(run.output), weights_of(finished.output))
    assert are_equal(load(run.output).state_dict(), weights_of(finished.output))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_checkpoint_writer_says_that_the_disk_is_full():
    plugin = DirectCheckpointIO()
    plugin.save_checkpoint({"weights": torch.zeros(300_000)}, "last.ckpt")
    with pytest.raises(OSError, match="No space left on device"):
        plugin.write("/dev/full")


def test_missing_trainer_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"needs lightning and matplotlib: pip install 'timesformer\[train\]'"):
        importlib.reload(timesformer.training)
