import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import timesformer as tsf
from timesformer.config.io import dump_toml, read_config
from timesformer.config.run import RunConfig
from timesformer.errors import ConfigError, TimeSformerError, WeightsError
from timesformer.people import pretrain
from timesformer.people.config import PeopleRun
from timesformer.people.folder import PeopleFolder, draw_curve
from timesformer.people.pretrain import lr_factor, pretrain_people

PNG = b"\x89PNG"
TIMES = ("seconds", "drawing_s")
"""Columns that differ between equal runs."""


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "CHECKPOINT_STEPS", 2)
    monkeypatch.setattr(pretrain, "RECORD_STEPS", 3)
    monkeypatch.setattr(
        pretrain, "draw_curve", lambda folder, history: folder.curve.write_bytes(PNG)
    )  # a third of a second


def metrics(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def weights(folder: Path) -> str:
    return json.loads((folder / "model/config.json").read_text())["weights_sha256"]


def stop_at(step: int, action):
    """A progress callback that does something after a step."""

    def on_progress(done: int, total: int) -> None:
        if done == step:
            action()

    return on_progress


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_run_writes_its_folder(tiny_run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrain, "draw_curve", draw_curve)
    run = tiny_run()
    seen = []
    folder = pretrain_people(run, on_progress=lambda done, total: seen.append((done, total)))
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint.pt", "config.toml", "curve.png", "metrics.csv", "model", "people.png"
    ]  # fmt: skip
    assert seen == [(step, 6) for step in range(1, 7)]
    assert read_config(folder / "config.toml", kind=PeopleRun) == run
    assert [row["step"] for row in metrics(folder)] == ["3", "6"]
    for picture in ("curve.png", "people.png"):
        assert (folder / picture).read_bytes().startswith(PNG)


def test_the_model_states_how_it_reads_clips_its_origin_and_its_license(tiny_run):
    run = tiny_run()
    model = tsf.load(pretrain_people(run))
    assert model.config == run.model
    assert model.info.labels == ()
    assert model.info.license == "Apache-2.0"
    assert model.info.source == "pretrained on generated people: drawn bodies in motion, no data of anybody"
    assert (model.info.clip.channel_order, model.info.clip.sampling) == ("time", "segment")
    assert (model.info.clip.mean, model.info.clip.std) == ((0.0,) * 3, (0.25,) * 3)
    in_color = tsf.load(pretrain_people(tiny_run("color", appearance="color"))).info.clip
    assert (in_color.background, in_color.mean, in_color.std) == ("remove", (0.5,) * 3, (0.15,) * 3)


def test_equal_runs_give_equal_weights_and_other_seeds_do_not(tiny_run):
    first, again, other = (pretrain_people(tiny_run(name, seed=seed)) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert weights(first) == weights(again) != weights(other)
    assert metrics(first) == metrics(again)


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_run_that_was_interrupted_and_resumed_is_the_same_to_the_bit(tiny_run, step: int):
    whole = pretrain_people(tiny_run("whole"))
    run = tiny_run("parts")
    with pytest.raises(KeyboardInterrupt):
        pretrain_people(run, on_progress=stop_at(step, interrupt))
    folder = pretrain_people(run, resume=True)
    assert weights(folder) == weights(whole)
    assert metrics(folder) == metrics(whole)
    stored, expected = (torch.load(path / "checkpoint.pt", weights_only=True) for path in (folder, whole))
    for name in ("model", "pretext"):
        for key, tensor in expected[name].items():
            assert torch.equal(stored[name][key], tensor)


def test_dropout_is_drawn_again_after_a_resumption(tiny_run):
    model = replace(tiny_run().model, dropout=0.3)
    whole = pretrain_people(tiny_run("whole", model=model))
    run = tiny_run("parts", model=model)
    with pytest.raises(KeyboardInterrupt):
        pretrain_people(run, on_progress=stop_at(4, interrupt))
    torch.manual_seed(99)
    assert weights(pretrain_people(run, resume=True)) == weights(whole)


def test_a_signal_to_end_leaves_a_checkpoint_of_the_present_step(tiny_run):
    run = tiny_run()
    with pytest.raises(SystemExit) as stop:
        pretrain_people(run, on_progress=stop_at(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert stop.value.code == 143
    checkpoint = Path(run.output) / "checkpoint.pt"
    assert torch.load(checkpoint, weights_only=True)["step"] == 3
    assert weights(pretrain_people(run, resume=True)) == weights(pretrain_people(tiny_run("whole")))


KILLED = """
import sys
from timesformer.config.io import read_config
from timesformer.people import pretrain
from timesformer.people.config import PeopleRun

pretrain.CHECKPOINT_STEPS = 1
pretrain.pretrain_people(read_config(sys.argv[1], kind=PeopleRun), resume=True)
"""


def test_a_run_that_is_killed_at_any_moment_goes_on(tiny_run, tmp_path: Path):
    run = tiny_run(steps=400)
    folder = PeopleFolder(Path(run.output))
    folder.root.mkdir()
    folder.config.write_text(dump_toml(run))
    for _ in range(2):
        before = folder.checkpoint.stat().st_mtime_ns if folder.checkpoint.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder.config)])
        deadline = time.monotonic() + 120
        while not (folder.checkpoint.exists() and folder.checkpoint.stat().st_mtime_ns > before):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.wait()
    step = torch.load(folder.checkpoint, weights_only=True)["step"]
    first = []
    with pytest.raises(KeyboardInterrupt):
        pretrain_people(run, resume=True, on_progress=lambda done, total: (first.append(done), interrupt()))
    assert first == [step + 1]


def test_a_finished_run_is_not_trained_again_and_missing_files_are_written(tiny_run):
    run = tiny_run()
    folder = pretrain_people(run)
    before = weights(folder)
    for name in ("curve.png", "people.png", "metrics.csv"):
        (folder / name).unlink()
    seen = []
    pretrain_people(run, resume=True, on_progress=lambda done, total: seen.append(done))
    assert seen == []
    assert weights(folder) == before
    assert all((folder / name).exists() for name in ("curve.png", "people.png", "metrics.csv"))


def test_a_run_is_replaced_only_if_asked_and_other_files_stay(tiny_run):
    run = tiny_run()
    folder = pretrain_people(run)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"already holds a run: .* or pass resume=True \(--resume\)"):
        pretrain_people(run)
    other = replace(run, seed=5)
    pretrain_people(other, overwrite=True)
    assert read_config(folder / "config.toml", kind=PeopleRun).seed == 5
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_resumed_run_goes_on_in_its_precision(tiny_run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrain, "resolve_precision", lambda name, device: "bf16" if name == "auto" else name)
    monkeypatch.setattr(pretrain, "warn_if_slow", lambda precision, device: None)
    run = tiny_run()
    folder = pretrain_people(run)
    pretrain_people(replace(run, precision="auto"), resume=True)
    assert read_config(folder / "config.toml", kind=PeopleRun).precision == "fp32"
    with pytest.raises(ConfigError, match="precision was 'fp32' and is 'bf16'"):
        pretrain_people(replace(run, precision="bf16"), resume=True)


def test_another_config_is_not_resumed(tiny_run):
    run = tiny_run()
    pretrain_people(run)
    changed = replace(run, steps=9, model=replace(run.model, depth=2))
    with pytest.raises(ConfigError, match=r"steps was 6 and is 9; model\.depth was 1 and is 2\. Resume it unchanged"):
        pretrain_people(changed, resume=True)
    with pytest.raises(ConfigError, match="exclude each other"):
        pretrain_people(run, resume=True, overwrite=True)
    with pytest.raises(ConfigError, match=r"holds no run to resume: it has no config\.toml"):
        pretrain_people(tiny_run("elsewhere"), resume=True)


def test_runs_of_another_kind_are_left_alone(tiny_run):
    run = tiny_run()
    folder = Path(run.output)
    folder.mkdir()
    text = dump_toml(RunConfig())
    (folder / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match="already holds a run"):
        pretrain_people(run)
    with pytest.raises(ConfigError, match="holds a run of another kind: name another folder"):
        pretrain_people(run, overwrite=True)
    for precision in ("auto", "fp32"):
        with pytest.raises(ConfigError, match="is the config of a run of another kind: name another folder"):
            pretrain_people(replace(run, precision=precision), resume=True)
    assert (folder / "config.toml").read_text() == text


def test_a_folder_of_other_files_named_model_is_not_removed(tiny_run):
    run = tiny_run()
    folder = pretrain_people(run)
    (folder / "model/config.json").unlink()
    with pytest.raises(ConfigError, match="is not a model folder: refusing to remove it"):
        pretrain_people(run, overwrite=True)


def test_a_damaged_checkpoint_is_named(tiny_run):
    run = tiny_run()
    checkpoint = pretrain_people(run) / "checkpoint.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: is not a checkpoint of a pretraining, or damaged"):
        pretrain_people(run, resume=True)


def test_a_loss_that_is_not_finite_ends_the_run(tiny_run, monkeypatch: pytest.MonkeyPatch):
    def broken(model, clips):
        return model.norm.weight * torch.full((len(clips), model.config.embed_dim), torch.inf)

    monkeypatch.setattr(tsf.TimeSformer, "features", broken)
    with pytest.raises(TimeSformerError, match=r"step 1: the loss is nan .* try a lower lr than 0\.001"):
        pretrain_people(tiny_run())


def test_a_folder_that_is_a_file_is_refused_before_the_work(tiny_run, tmp_path: Path):
    (tmp_path / "run").write_text("")
    with pytest.raises(ConfigError, match="is a file; choose a folder"):
        pretrain_people(tiny_run())


def test_the_rate_rises_for_100_steps_and_falls_to_0():
    rates = [lr_factor(step, steps=1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01) and max(rates) == pytest.approx(0.98, abs=0.01)
    assert rates[-1] < 1e-5
    assert rates[:99] == sorted(rates[:99]) and rates[100:] == sorted(rates[100:], reverse=True)


def test_a_model_learns_in_bf16_where_the_joints_are(tiny_run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrain, "RECORD_STEPS", 20)
    monkeypatch.setattr(pretrain, "CHECKPOINT_STEPS", 200)
    monkeypatch.setattr(pretrain, "warn_if_slow", lambda precision, device: None)
    rows = metrics(pretrain_people(tiny_run(steps=80, batch_size=8, lr=3e-3, precision="bf16")))
    assert float(rows[-1]["joints_loss"]) < 0.9 * float(rows[0]["joints_loss"])


def test_a_pretraining_goes_on_from_the_weights_of_another(tiny_run):
    folder = pretrain_people(tiny_run())
    run = tiny_run("second", init_from=str(folder), appearance="color", steps=1, lr=1e-9)
    first, second = tsf.load(folder), tsf.load(pretrain_people(run))
    assert second.info.clip == pretrain.CLIPS["color"]
    assert second.info.source == pretrain.SOURCE
    for name, weight in first.state_dict().items():
        if not name.startswith("head."):
            torch.testing.assert_close(second.state_dict()[name], weight, rtol=0, atol=1e-7)


def test_weights_of_another_width_or_in_the_same_folder_are_refused(tiny_run):
    folder = pretrain_people(tiny_run())
    wider = replace(tiny_run().model, embed_dim=24)
    with pytest.raises(ConfigError, match="embed_dim"):
        pretrain_people(tiny_run("second", init_from=str(folder), model=wider))
    with pytest.raises(ConfigError, match="is an input"):
        pretrain_people(tiny_run(init_from=str(folder)), overwrite=True)
