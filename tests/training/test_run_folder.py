import errno
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from timesformer.config.io import read_config
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.files import replacing_durably
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import writing
from timesformer.training.run_folder import (
    RunFolder,
    begin,
    check_can_write,
    check_is_free,
    check_same_run,
    clear,
    differences,
    replace_text,
    tidy,
)
from timesformer.weights.model_folder import save

TINY = ModelConfig(num_frames=2, image_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2, num_classes=3)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.checkpoints.mkdir(parents=True)
    return folder


def _fill(folder: RunFolder) -> None:
    for path in folder.files:
        path.write_text("mine")
    save(TimeSformer(TINY), folder.model)


def test_empty_folder_and_other_files_hold_no_run(folder: RunFolder):
    (folder.root / "notes.txt").touch()
    check_is_free(folder)


@pytest.mark.parametrize("name", ["config.toml", "metrics.csv", "curve.png", "checkpoints/last.ckpt", "model"])
def test_any_file_of_a_run_is_refused(folder: RunFolder, name: str):
    (folder.root / name).touch()
    with pytest.raises(
        ConfigError, match=r"already holds a run: name another folder, .*=True \(--resume\) or .*=True \(--overwrite\)"
    ):
        check_is_free(folder)


def test_clearing_removes_the_run_and_nothing_else(folder: RunFolder):
    _fill(folder)
    (folder.root / "notes.txt").write_text("keep")
    (folder.checkpoints / "other.ckpt").write_text("keep")
    clear(folder)
    left = [path.name for path in folder.root.rglob("*") if path.is_file()]
    assert sorted(left) == ["notes.txt", "other.ckpt"]


def test_clearing_removes_checkpoints_first_and_the_config_last(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    _fill(folder)
    folder.tensorboard.mkdir()
    removed = []
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok: removed.append(self.name))
    monkeypatch.setattr(shutil, "rmtree", lambda path: removed.append(path.name))
    clear(folder)
    assert removed == ["best.ckpt", "last.ckpt", "model", "tensorboard", "curve.png", "metrics.csv", "config.toml"]


def test_partial_files_of_a_killed_process_are_removed_and_nothing_else(folder: RunFolder):
    _fill(folder)
    before = sorted(folder.root.rglob("*"))
    for name in (".metrics.csv.123.part", "checkpoints/.last.ckpt.9.part"):
        (folder.root / name).touch()
    (folder.root / ".model-abc").mkdir()
    (folder.root / ".model-old-abc" / "model").mkdir(parents=True)
    tidy(folder)
    assert sorted(folder.root.rglob("*")) == before


def test_model_that_was_about_to_be_replaced_is_restored(folder: RunFolder):
    _fill(folder)
    retired = folder.root / ".model-old-abc"
    retired.mkdir()
    folder.model.rename(retired / "model")
    (folder.root / ".model-new").mkdir()
    tidy(folder)
    assert (folder.model / "config.json").exists()
    assert not list(folder.root.glob(".*"))


def test_folder_named_model_that_is_not_a_model_folder_is_not_removed(folder: RunFolder):
    folder.model.mkdir()
    (folder.model / "thesis.tex").touch()
    (folder.metrics).touch()
    with pytest.raises(ConfigError, match="is not a model folder: refusing to remove it"):
        clear(folder)
    assert folder.metrics.exists()


def test_config_is_read_back_as_written(folder: RunFolder):
    run = RunConfig(model=TINY, data=DataConfig(train="videos"), epochs=7)
    begin(folder, run)
    assert read_config(folder.config, kind=RunConfig) == run


def test_run_with_the_same_result_may_be_resumed(folder: RunFolder):
    run = RunConfig(data=DataConfig(train="videos"))
    begin(folder, run)
    moved = replace(run, output="elsewhere", device="cpu", data=replace(run.data, num_workers=5, cache=True))
    check_same_run(folder, replace(moved, checkpoint_every=7, trackers=("tensorboard",)))


def test_other_run_is_refused_and_its_keys_are_named(folder: RunFolder):
    run = RunConfig(data=DataConfig(train="videos"))
    begin(folder, run)
    other = replace(run, epochs=16, optim=OptimConfig(lr=0.5))
    with pytest.raises(
        ConfigError, match=r"another config: optim\.lr was 0\.001 and is 0\.5; epochs was 15 and is 16.*--overw"
    ):
        check_same_run(folder, other)


def test_keys_can_be_ignored_in_the_comparison(folder: RunFolder):
    begin(folder, RunConfig())
    other = RunConfig(model=replace(ModelConfig(), num_classes=3, depth=2))
    assert differences(folder, other, ignored=("model.num_classes",)) == ["model.depth was 12 and is 2"]


def test_empty_folder_cannot_be_resumed(folder: RunFolder):
    with pytest.raises(
        ConfigError, match=r"holds no run to resume: it has no config\.toml; start it without resume=True \(--resume\)$"
    ):
        check_same_run(folder, RunConfig())
    folder.metrics.touch()
    with pytest.raises(
        ConfigError, match=r"start it without resume=True \(--resume\), with overwrite=True \(--overwrite\)$"
    ):
        check_same_run(folder, RunConfig())


def test_output_below_a_file_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"run: cannot be written: Not a directory"):
        check_can_write(RunFolder(tmp_path / "file" / "run"), num_bytes=0)


def test_read_only_output_is_refused(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("timesformer.training.run_folder.tempfile.TemporaryFile", refuse)
    with pytest.raises(ConfigError, match="cannot be written: Read-only file system"):
        check_can_write(folder, num_bytes=0)


def test_full_disk_is_refused_before_the_first_step(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000_000))
    check_can_write(folder, num_bytes=199_000_000)
    with pytest.raises(ConfigError, match=r"needs up to 1\.5 GB and the disk has 200 MB free"):
        check_can_write(folder, num_bytes=1_500_000_000)


def test_space_of_replaced_files_counts_as_free(folder: RunFolder, monkeypatch: pytest.MonkeyPatch):
    folder.last.write_bytes(bytes(3000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    check_can_write(folder, num_bytes=4000)


def test_checking_makes_the_folder_and_leaves_no_file_in_it(tmp_path: Path):
    folder = RunFolder(tmp_path / "new" / "run")
    check_can_write(folder, num_bytes=0)
    assert not list(folder.root.iterdir())


def test_beginning_replaces_an_existing_run(folder: RunFolder):
    _fill(folder)
    begin(folder, RunConfig(epochs=2))
    assert [path for path in folder.root.rglob("*") if path.is_file()] == [folder.config]


def _fill_the_disk(path: Path) -> None:
    with writing(path), replacing_durably(path) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_file_is_complete_or_unchanged(folder: RunFolder):
    replace_text(folder.metrics, "before")
    with pytest.raises(TimeSformerError, match=r"metrics\.csv: cannot be written: No space left"):
        _fill_the_disk(folder.metrics)
    assert folder.metrics.read_text() == "before"
    assert not list(folder.root.glob(".*"))
