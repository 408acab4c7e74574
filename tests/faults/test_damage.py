"""Damaged files of a run, a model and a cache."""

import pytest

from faults.conftest import RESUME, TRAIN, Scene, cut, flip, same_run
from faults.injections import STEP

PREDICT = ("predict", "videos/val", "--model")


@pytest.fixture
def begun(scene: Scene) -> Scene:
    """A scene with a run that was interrupted in its third epoch."""
    scene.run(*TRAIN, "run", fault=("signal_at", STEP, 8, "SIGTERM"))
    return scene


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_checkpoint(begun: Scene, damage):
    last = begun.folder / "run/checkpoints/last.ckpt"
    damage(last)
    begun.see(f"checkpoint {damage.__name__}", begun.run(*RESUME, "run"))
    last.unlink()
    begun.check(*RESUME, "run")
    assert same_run(begun.folder / "run", begun.folder / "whole")


def test_damaged_config(begun: Scene):
    config = begun.folder / "run/config.toml"
    whole = config.read_bytes()
    config.write_bytes(whole[: whole.index(b"epochs") + 4])
    begun.see("config damaged", begun.run(*RESUME, "run"))
    config.write_bytes(whole)
    begun.check(*RESUME, "run")
    assert same_run(begun.folder / "run", begun.folder / "whole")


def test_damaged_table(begun: Scene):
    table = begun.folder / "run/metrics.csv"
    cut(table)
    begun.see("table damaged", begun.run(*RESUME, "run"))
    assert same_run(begun.folder / "run", begun.folder / "whole")
    assert len(table.read_text().splitlines()) == 4


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_weights(scene: Scene, damage):
    damage(scene.folder / "whole/model/model.safetensors")
    scene.see(f"weights {damage.__name__}", scene.run(*PREDICT, "whole"))


def test_damaged_config_of_a_model(scene: Scene):
    config = scene.folder / "whole/model/config.json"
    config.write_text(config.read_text().partition(",")[0])
    scene.see("model config damaged", scene.run(*PREDICT, "whole"))


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_cache_of_check(scene: Scene, damage):
    first = scene.run("check", "videos").out
    damage(scene.folder / "videos/.timesformer-check")
    result = scene.run("check", "videos")
    scene.see("cache damaged", result)
    assert result.out == first
