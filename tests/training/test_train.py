import errno
import importlib
import io
import logging
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from rich.console import Console

import timesformer.training
from timesformer.config.io import read_config
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.data.manifest import Manifest, Sample
from timesformer.errors import ConfigError, DecodeError, DependencyError, TimeSformerError
from timesformer.evaluation import evaluate
from timesformer.training.fit import train
from timesformer.training.history import best_epoch, read_metrics
from timesformer.training.sources import load_data, validation_of, with_num_classes
from timesformer.training.start import initial_model
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


def test_metrics_have_a_row_for_each_epoch(finished: RunConfig):
    history = read_metrics(Path(finished.output) / "metrics.csv")
    assert [record.epoch for record in history] == [1, 2, 3]
    assert [record.step for record in history] == [3, 6, 9]
    assert all(0 <= record.val_accuracy <= record.val_top5_accuracy == 1 for record in history)
    assert all(record.train_accuracy * 12 == pytest.approx(round(record.train_accuracy * 12)) for record in history)
    assert history[0].lr > history[1].lr > history[2].lr > 0


def test_validation_accuracy_is_that_of_evaluate_where_a_video_has_one_view(finished: RunConfig):
    best = best_epoch(read_metrics(Path(finished.output) / "metrics.csv"))
    evaluation = evaluate(load(finished.output), validation_of(finished), device="cpu", num_workers=0)
    assert evaluation.top1 == pytest.approx(best.val_accuracy)


def test_messages_name_the_data_every_epoch_and_the_model(run: RunConfig):
    lines: list[str] = []
    train(run, on_message=lines.append)
    assert lines[0] == "training: 12 videos of 3 classes, 6 for validation; 3 epochs of 3 steps on cpu"
    assert [line.split(":")[0] for line in lines[1:4]] == ["epoch 1", "epoch 2", "epoch 3"]
    assert lines[4].startswith("best validation accuracy: ")
    assert lines[4].endswith(f"its model is {Path(run.output) / 'model'}")


def test_lines_go_to_the_log_where_there_is_no_terminal(run: RunConfig, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        train(replace(run, epochs=1))
    names = {record.name for record in caplog.records}
    assert "epoch 1: loss" in caplog.text
    assert not any(name.startswith("lightning") for name in names)


def test_terminal_shows_a_bar_with_the_epochs_above_it(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    text = io.StringIO()
    monkeypatch.setattr(
        "timesformer.training.fit.Console",
        lambda **options: Console(**{**options, "file": text, "force_terminal": True, "width": 120}),
    )
    train(replace(run, data=replace(run.data, cache=True)))
    shown = text.getvalue()
    assert "epoch 3: loss" in shown
    assert "trained" in shown
    assert "9/9" in shown
    assert "decoding" in shown


# --- What stops a run -----------------------------------------------------------------------------------------------


def test_run_in_the_way_stops_another_one(finished: RunConfig):
    with pytest.raises(ConfigError, match="holds a run already"):
        train(finished, on_message=quiet)
    with pytest.raises(ConfigError, match="exclude each other"):
        train(finished, resume=True, overwrite=True, on_message=quiet)
    with pytest.raises(ConfigError, match="the run to resume is another one: seed was 0 and is 5"):
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
    with pytest.raises(ConfigError, match="other weights than depth=5"):
        train(deeper, overwrite=True, on_message=quiet)
    assert are_equal(weights_of(finished.output), before)


def test_device_that_is_not_there_is_refused(run: RunConfig):
    with pytest.raises(ConfigError, match="device='gpu'"):
        train(replace(run, device="gpu"), on_message=quiet)
    assert not Path(run.output).exists()


def test_loss_that_explodes_stops_the_run_with_its_step(run: RunConfig):
    wild = replace(run, optim=OptimConfig(optimizer="sgd", lr=1e30, clip_grad_norm=0.0))
    with pytest.raises(TimeSformerError, match=r"the loss is (nan|inf) at step \d .epoch 1.: .*a lower optim\.lr"):
        train(wild, on_message=quiet)


def test_clipping_bounds_how_far_the_weights_go(run: RunConfig):
    optim = OptimConfig(optimizer="sgd", lr=1.0, weight_decay=0.0, clip_grad_norm=1e-4)
    train(replace(run, optim=optim), on_message=quiet)
    start = initial_model(with_num_classes(run, load_data(run.data, seed=0)), labels=("a", "b", "c")).state_dict()
    end = weights_of(run.output)
    way = sum((end[name] - start[name]).square().sum() for name in start).sqrt()
    # 9 steps, each of at most 1e-4, of which momentum makes 10 times as much at most
    assert 0 < way < 9 * 1e-3


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_video_stops_the_run_with_its_name(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_workers: int
):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    split = load_data(run.data, seed=0)
    bad = split._replace(train=Manifest((*split.train.samples, Sample(broken, 0)), split.train.class_names))
    monkeypatch.setattr("timesformer.training.fit.load_data", lambda data, seed: bad)
    with pytest.raises(DecodeError, match=r"broken\.mp4") as caught:
        train(replace(run, data=replace(run.data, num_workers=num_workers)), on_message=quiet)
    assert "Traceback" not in str(caught.value)


def test_interrupted_run_says_how_to_go_on_and_can_be_interrupted_again(run: RunConfig):
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        if line.startswith("epoch 2"):
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 2 of 3 epochs"):
        train(run, on_message=interrupt)
    assert lines[-1].endswith("resume the run to go on from there")
    assert signal.getsignal(signal.SIGINT) is handler
    assert (Path(run.output) / "curve.png").exists()
    assert len(read_metrics(Path(run.output) / "metrics.csv")) == 2


def test_disk_that_fills_up_stops_the_run_and_spares_the_last_checkpoint(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
):
    save_checkpoint = Trainer.save_checkpoint

    def fill_up(self: Trainer, path: Path, **options: object) -> None:
        if self.current_epoch == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_checkpoint(self, path, **options)

    monkeypatch.setattr(Trainer, "save_checkpoint", fill_up)
    with pytest.raises(TimeSformerError, match=r"last\.ckpt: cannot be written: No space left on device"):
        train(run, on_message=quiet)
    state = torch.load(Path(run.output) / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(state["callbacks"]["Recorder"]["history"]) == 1


def test_missing_trainer_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"needs lightning and matplotlib: pip install 'timesformer\[train\]'"):
        importlib.reload(timesformer.training)
