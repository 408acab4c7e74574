import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from timesformer.cli.main import main
from timesformer.config.io import dump_toml
from timesformer.config.presets import CLIP_PRESETS, PRESETS
from timesformer.config.run import AugmentConfig, DataConfig, OptimConfig, RunConfig
from timesformer.data.manifest.manifest import Manifest, load_manifest
from timesformer.data.manifest.save import save_manifest
from timesformer.errors import ConfigError
from timesformer.training.dry_run import dry_run_as_dict, format_dry_run, make_dry_run
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train

NOWHERE = RunConfig(
    model=replace(PRESETS["tiny"], drop_path=0.2, num_classes=9),
    clip=CLIP_PRESETS["tiny"],
    data=DataConfig(train="no/train.csv", val="no/val.csv", flip=True),
    augment=AugmentConfig(repeats=2, mixup=0.8),
    optim=OptimConfig(
        optimizer="sgd", lr=0.005, weight_decay=1e-4, schedule="steps", freeze="blocks:1", ema_decay=0.99
    ),
    init_from="no/weights.pyth",
    epochs=15,
    batch_size=16,
    accumulate=4,
    patience=3,
    device="cuda",
    output="runs/nowhere",
)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]):
    """Run the command line in this process; gives exit status, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["train", *map(str, arguments)])
        return (int(caught.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_dry_run_needs_no_weights_no_videos_and_no_gpu():
    text = format_dry_run(make_dry_run(NOWHERE))
    lines = {line[:13].strip(): line[14:] for line in text.splitlines()}
    assert lines["model"].startswith("divided_space_time, 0.5 M parameters, 0.0")
    assert lines["model"].endswith("GMAC per clip of 8 frames of 32 x 32, 9 classes")
    assert lines["starts from"] == "no/weights.pyth (not found)"
    assert lines["data"] == "no/train.csv; validation: no/val.csv; not found: no/train.csv, no/val.csv"
    assert lines["batch"] == "16 clips in 4 micro-batches of 4, 2 from each of 8 videos"
    assert lines["optimizer"].startswith("sgd, lr 0.005; ")
    assert lines["optimizer"].endswith(" frozen, gradient norm clipped to 1, EMA decay 0.99")
    assert lines["schedule"] == (
        "15 epochs, warm-up fraction 0.05, divided by 10 at epochs 11, 14, "
        "early stop after 3 epochs without improvement"
    )
    assert lines["augmentation"] == "scale_range=1.14 to 1.43, flip, repeats=2, mixup=0.8, drop_path=0.2"
    assert lines["precision"] == "fp32 on cuda (not available)"
    assert lines["memory"].endswith(" for each of 4 clips")
    assert lines["keeps"] == "the best epoch, in runs/nowhere"


def test_dry_run_has_the_steps_of_the_run_that_follows(run: RunConfig):
    divided = replace(run, batch_size=4, accumulate=2, augment=AugmentConfig(repeats=2))
    summary = make_dry_run(divided)
    assert (summary.data.num_train, summary.data.num_val, summary.data.num_classes) == (12, 6, 3)
    assert summary.run.model.num_classes == 3
    lines: list[str] = []
    train(divided, on_message=lines.append)
    assert f"3 epochs of {summary.schedule.steps_per_epoch} steps" in lines[0]
    state = torch.load(RunFolder(Path(run.output)).last, weights_only=True)
    assert state["global_step"] == summary.schedule.total_steps == 18
    groups = state["optimizer_states"][0]["param_groups"]
    assert [group.tensors for group in summary.groups] == [len(group["params"]) for group in groups]
    assert [group.weight_decay for group in summary.groups] == [group["weight_decay"] for group in groups]
    assert [group.lr for group in summary.groups] == [group["initial_lr"] for group in groups]


def test_dry_run_shows_frozen_parameters_and_layer_wise_rates():
    summary = make_dry_run(replace(NOWHERE, optim=OptimConfig(layer_decay=0.5, freeze="blocks:1")))
    trained = sum(group.parameters for group in summary.groups)
    assert trained + summary.frozen.parameters == summary.parameters
    assert summary.frozen.parameters > 0
    # the head and the last norm at 1e-3, block 3 half of it, block 2 half of that
    assert sorted({group.lr for group in summary.groups}) == pytest.approx([2.5e-4, 5e-4, 1e-3])
    assert "lr 0.00025 (lowest) to 0.001 (head)" in format_dry_run(summary)


def test_dry_run_as_json_has_null_for_unknown_numbers():
    content = json.loads(json.dumps(dry_run_as_dict(make_dry_run(NOWHERE))))
    assert content["schedule"]["total_steps"] is None
    assert content["data"]["num_train"] is None
    assert content["memory"]["total"] > content["memory"]["weights"]
    assert content["run"]["model"]["num_classes"] == 9


def test_dry_run_names_problems_of_existing_videos(tmp_path: Path):
    (tmp_path / "list.csv").write_text("a.mp4,0\nb.mp4,1\n")
    summary = make_dry_run(replace(NOWHERE, data=DataConfig(train=str(tmp_path / "list.csv"))))
    assert "2 of 2 videos are missing" in summary.data.problem
    assert "problem: " in format_dry_run(summary)
    summary = make_dry_run(replace(NOWHERE, data=DataConfig()))
    assert summary.data.problem == "data.train is empty: name the training videos"


def test_dry_run_and_first_line_say_that_whole_groups_are_held_out(run: RunConfig, tmp_path: Path):
    manifest = load_manifest(Path(run.data.train) / "train")
    samples = tuple(replace(s, group=f"p{number % 4}") for number, s in enumerate(manifest.samples))
    save_manifest(Manifest(samples, manifest.class_names), tmp_path / "all.csv")
    grouped = replace(run, data=replace(run.data, train=str(tmp_path / "all.csv"), val_fraction=0.25), epochs=1)
    summary = make_dry_run(grouped)
    assert (summary.data.num_groups, summary.data.num_val_groups) == (4, 1)
    line = format_dry_run(summary).splitlines()[2]
    assert "validation: 25% of each training class, by whole groups; 9 training and 3 validation videos" in line
    assert line.endswith(" (1 of 4 groups)")
    lines: list[str] = []
    train(grouped, on_message=lines.append)
    assert lines[0].startswith("training: 9 videos of 3 classes, 3 for validation (1 of 4 groups); 1 epochs of ")


def test_device_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="device='gpu'"):
        make_dry_run(replace(NOWHERE, device="gpu"))


# --- On the command line ---------------------------------------------------------------------------------------------


def test_dry_run_prints_a_summary_and_writes_nothing(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(dump_toml(NOWHERE))
    status, out, _ = command("--config", "run.toml", "--dry-run")
    assert status == 0
    assert out.startswith("model         divided_space_time")
    status, out, _ = command("--config", "run.toml", "--dry-run", "--json", "--epochs", 4)
    assert json.loads(out)["schedule"]["epochs"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("a.mp4,0\nb.mp4,1\n", "2 of 2 videos are missing"),
        ("here.mp4,run\n", "has one class ('run')"),
        ("", "lists no video"),
        ("here.mp4\n", "line 1"),
    ],
)
@pytest.mark.parametrize("with_config", [False, True])
def test_dry_run_fails_with_a_fault_of_the_videos_after_its_summary(
    command, tmp_path: Path, lines: str, problem: str, with_config: bool
):
    (tmp_path / "run.toml").write_text(dump_toml(NOWHERE))
    (tmp_path / "here.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text(lines)
    config = ["--config", tmp_path / "run.toml", "--set", "data.val="] if with_config else []
    status, out, err = command(tmp_path / "list.csv", *config, "--dry-run")
    assert status == 1
    assert out.startswith("model         divided_space_time")
    assert "data          problem: " in out
    assert "error: this run cannot start: " in err
    assert problem in err


def test_dry_run_of_an_empty_folder_fails(command, tmp_path: Path):
    (tmp_path / "videos").mkdir()
    status, out, err = command(tmp_path / "videos", "--dry-run", "--json")
    assert status == 1
    assert json.loads(out)["data"]["problem"] in err


def test_dry_run_without_videos_fails_but_for_a_config(command, tmp_path: Path):
    (tmp_path / "run.toml").write_text(dump_toml(NOWHERE))
    for arguments, problem in (
        (("no/videos",), "error: this run cannot start: no/videos does not exist"),
        (("--model", "tiny"), "error: this run cannot start: data.train is empty"),
    ):
        status, out, err = command(*arguments, "--dry-run")
        assert (status, out[:5]) == (1, "model")
        assert problem in err
    assert command("--config", tmp_path / "run.toml", "--dry-run")[0] == 0
    assert command("no/videos", "--config", tmp_path / "run.toml", "--dry-run")[0] == 0
    assert command("--config", tmp_path / "run.toml", "--dry-run", "--set", "data.train=")[0] == 0


def test_dry_run_of_a_damaged_shard_fails(command, tmp_path: Path):
    (tmp_path / "shard-000000.tar").write_bytes(b"no tar archive" * 99)
    (tmp_path / "list.csv").write_text("shard-000000.tar/a.mp4,0\nshard-000000.tar/b.mp4,1\n")
    status, out, err = command(tmp_path / "list.csv", "--dry-run")
    assert (status, out[:5]) == (1, "model")
    assert "shard-000000.tar" in err


def test_preview_writes_an_image_and_does_not_train(
    command, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(videos, "--model", "tiny", "--preview", "preview.png")
    assert (status, out.strip()) == (0, "preview.png"), err
    assert [path.name for path in tmp_path.iterdir()] == ["preview.png"]
    status, _, err = command(videos, "--preview", "preview.png", "--dry-run")
    assert status == 2
    assert "leave out --dry-run" in err


@pytest.mark.parametrize(
    ("lines", "classes", "message"),
    [
        ("a.mp4,0\nb.mp4,5\n", "run\nwalk\n", "line 2: label 5 is out of range, allowed are 0 to 1"),
        ("a.mp4,run\nb.mp4,wlak\n", "run\nwalk\n", "line 2: unknown class 'wlak', did you mean 'walk'?"),
        ("a.mp4,0\nb.mp4,-1\n", "run\nwalk\n", "line 2: label -1 is negative"),
    ],
)
def test_bad_labels_are_refused_before_any_video_is_opened(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, classes: str, message: str
):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    (tmp_path / "train.csv").write_text(lines)
    (tmp_path / "classes.txt").write_text(classes)
    monkeypatch.setattr("av.open", None)
    status, out, err = command(tmp_path / "train.csv", "--output", tmp_path / "run")
    assert (status, out) == (1, "")
    assert message in err
    assert not (tmp_path / "run").exists()
