"""A host that forks the command line, tiny videos, and a run that ends within a second."""

import re
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from faults.forks import Host, Result, open_host
from faults.rows import FAULTS
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
TRAIN = ("train", "--config", "run.toml", "--output")
RESUME = ("train", "--resume", "--output")


@dataclass(frozen=True, slots=True)
class Scene:
    """A folder to work in, the host, and a small disk that the commands may see."""

    host: Host
    folder: Path
    disk: SmallDisk | None = None

    def run(self, *arguments: object, fault: tuple[object, ...] = ("nothing",)) -> Result:
        """Run the command line in the folder to its end."""
        return self.host.run(*arguments, folder=self.folder, fault=fault, disk=self.disk)

    def see(self, key: str, result: Result) -> None:
        """Compare the exit status and the last line on stderr with a row of the table."""
        seen = self.describe(result)
        pattern = re.sub(r"\bN\b", r"\\d+", re.escape(FAULTS[key].observed))
        pattern = re.sub(r"\bHASH\b", "[0-9a-f]{64}", pattern).replace("REASON", ".+")  # of a parser, by its version
        assert re.fullmatch(pattern, seen), f"{seen}\n{FAULTS[key].observed}"

    def describe(self, result: Result) -> str:
        """Exit status and last line on stderr, with names for the folders."""
        message = result.message
        if self.disk:
            message = message.replace(str(self.disk.point), "DISK")
        return f"exit {result.status}: {message.replace(f'{self.folder}/', '')}".removesuffix(": ")

    def check(self, *arguments: object) -> Result:
        """Run a command that has to succeed: the next one after a fault."""
        result = self.run(*arguments)
        assert result.status == 0, result.err
        return result


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
def scene(host: Host, template: Path, tmp_path: Path) -> Scene:
    """A copy of the template; its run is called `whole`."""
    folder = tmp_path / "work"
    shutil.copytree(template, folder)
    config = folder / "run/config.toml"
    config.write_text(
        config.read_text().replace(f"{template}/run", f"{folder}/whole").replace(str(template), str(folder))
    )
    (folder / "run").rename(folder / "whole")
    return Scene(host, folder)


@pytest.fixture
def disk_scene(scene: Scene, tmp_path: Path) -> Generator[Scene]:
    """The same, with a small disk."""
    with open_small_disk(tmp_path / "disk") as disk:
        yield Scene(scene.host, scene.folder, disk)


def same_run(first: Path, second: Path) -> bool:
    """Whether two runs ended with the same checkpoints, bit for bit."""
    from training_runs import content_of

    return all(content_of(first, name) == content_of(second, name) for name in ("last", "best"))


def hidden(folder: Path) -> list[Any]:
    """Files and folders below that have a temporary name."""
    return [path for path in folder.rglob(".*") if path.name not in (".filler", ".timesformer-check")]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Flip a bit in the middle, which is a weight in checkpoints and models."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
