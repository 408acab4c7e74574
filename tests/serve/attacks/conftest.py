"""One server for all attacks: a real process with small limits, whose traps wait for marked files and plain clips."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from serve_clips import Clips, plain_clip, write_clips, write_model
from serve_process import Server, serving
from trapped_serve import DARK, decoder_traps

LIMIT_MB = 2
REQUEST_S = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """The server, clips, and files for its traps."""

    server: Server
    clips: Clips
    dark: bytes
    """A clip whose batch waits for the file `go` in the folder."""
    white: bytes
    """A clip that makes its batch fail."""
    folder: Path


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Generator[Attacked]:
    folder = tmp_path_factory.mktemp("attacked")
    model = write_model(folder / "model")
    clips = write_clips(folder / "clips", model, count=16)
    with serving(
        model,
        folder,
        "--request-seconds",
        f"{REQUEST_S:g}",
        "--max-upload-mb",
        str(LIMIT_MB),
        traps=["head_seconds=3", "white_poisons", f"dark_waits={folder / 'go'}"],
        environment=decoder_traps(folder / "traps"),
    ) as server:
        yield Attacked(
            server=server,
            clips=clips,
            dark=plain_clip(folder / "dark.mp4", DARK),
            white=plain_clip(folder / "white.mp4", 255),
            folder=folder,
        )


@pytest.fixture
def server(attacked: Attacked) -> Generator[Server]:
    """The server, which after the test must be idle, without files, and answer the next clip."""
    processes = len(attacked.server.processes())
    yield attacked.server
    assert attacked.server.wait_until_idle(), attacked.server.files()
    assert attacked.server.process.poll() is None, attacked.server.tail()
    assert len(attacked.server.processes()) <= processes + 1
