"""A host that forks the command line, tiny videos, and a run that ends within a second."""

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from faults.forks import Host, open_host
from faults.small_disk import SmallDisk, open_small_disk
from timesformer.config.io import dump_toml
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_motion_dataset

CLASSES = ("move_left", "grow")
RUN = RunConfig(
    model=ModelConfig(
        num_frames=2, image_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2, initialization="scratch"
    ),
    clip=ClipConfig(sampling="segment", num_crops=1),
    data=DataConfig(train="videos", num_workers=0),
    optim=OptimConfig(lr=3e-3),
    epochs=3,
    batch_size=2,
    device="cpu",
    output="run",
)
"""3 epochs of 3 steps."""


@pytest.fixture(scope="session")
def host() -> Generator[Host]:
    with open_host() as host:
        yield host


@pytest.fixture(scope="session")
def template(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `videos/` (3 for training and 2 for validation in each of 2 classes), `run.toml` and the finished
    `run/`; tests copy it."""
    folder = tmp_path_factory.mktemp("template") / "work"
    write_motion_dataset(
        folder / "videos", clips_per_class=3, val_clips_per_class=2, classes=CLASSES, num_frames=4, size=(16, 20)
    )
    (folder / "run.toml").write_text(dump_toml(RUN))
    result = host.run("train", "--config", "run.toml", folder=folder)
    assert result.status == 0, result.err
    return folder


@pytest.fixture
def work(template: Path, tmp_path: Path) -> Path:
    """A copy of the template without its run."""
    return _copy(template, tmp_path / "work", "run")


@pytest.fixture
def trained(template: Path, tmp_path: Path) -> Path:
    """A copy of the template with its run."""
    return _copy(template, tmp_path / "work")


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[SmallDisk]:
    with open_small_disk(tmp_path / "disk") as disk:
        yield disk


def _copy(template: Path, folder: Path, *left_out: str) -> Path:
    """A copy whose config names the run inside it."""
    shutil.copytree(template, folder, ignore=lambda _, names: [name for name in names if name in left_out])
    for config in (folder / "run.toml", folder / "run/config.toml"):
        if config.exists():
            config.write_text(config.read_text().replace(str(template), str(folder)))
    return folder
