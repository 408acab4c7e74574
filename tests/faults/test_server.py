"""A server whose disk, memory, files, port or token fail, and which is stopped under load."""

import asyncio
import re
import shutil
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.conftest import Scene, hidden
from faults.forks import Command
from faults.rows import FAULTS
from serve_clips import plain_clip
from serve_hang_ups import until
from serve_http import Answer, ask
from trapped_serve import DARK

VIDEO = "videos/val/grow/grow_0000.mp4"
TOKEN = "correct-horse-battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running server."""

    command: Command
    port: int
    uploads: Path
    content: bytes
    """A clip."""

    def post(self, content: bytes | None = None) -> Answer:
        """Classify a clip."""
        return asyncio.run(self.predict(content))

    async def predict(self, content: bytes | None = None) -> Answer:
        """The same among others."""
        body = content or self.content
        return await ask(self.port, "POST", "/v1/predict", body, headers={"Content-Type": "video/mp4"})

    def num_inflight(self) -> int:
        """Number of requests between their arrival and their answer."""
        text = asyncio.run(ask(self.port, "GET", "/metrics")).body.decode()
        found = re.search(r"(?m)^timesformer_inflight (\S+)$", text)
        assert found is not None
        return int(float(found[1]))


@contextmanager
def served(
    scene: Scene, *options: object, uploads: Path | None = None, traps: tuple[str, ...] = (), stops: bool = True
) -> Generator[Served]:
    """A server, which must then stop with status 0 and leave nothing behind."""
    uploads = uploads or scene.folder.parent / "uploads"
    uploads.mkdir(exist_ok=True)
    command = scene.host.start(
        "serve", "--model", "whole", "--port", 0, *options, folder=scene.folder,
        fault=("serve_with", uploads, *traps), disk=scene.disk,
    )  # fmt: skip
    command.wait_for("http://")
    found = re.search(r":(\d+)/", (command.logs / "out").read_text())
    assert found is not None
    yield Served(command=command, port=int(found[1]), uploads=uploads, content=(scene.folder / VIDEO).read_bytes())
    if stops:
        command.send(signal.SIGTERM)
    result = command.wait()
    assert result.status == 0, result.err
    assert result.message == "stopped"
    assert not list(uploads.glob("timesformer-serve-*"))


def see(key: str, answer: Answer) -> None:
    """Compare an answer with a row of the table."""
    detail = answer.json().get("detail", "")
    seen = f"status {answer.status}: {detail}".removesuffix(": ")
    assert seen == FAULTS[key].observed
    if answer.status >= 400:
        assert answer.is_problem
    if answer.status == 503:
        assert "retry-after" in answer.headers


def test_disk_of_the_uploads_is_full(disk_scene: Scene):
    disk = disk_scene.disk
    assert disk is not None
    with served(disk_scene, uploads=disk.point) as server:
        disk.fill()
        see("serve: disk full", server.post())
        disk.clear()
        assert server.post().status == 200
    assert not hidden(disk.root)


def test_folders_of_the_uploads_and_of_the_model_are_deleted(scene: Scene):
    with served(scene) as server:
        first = server.post()
        for folder in server.uploads.iterdir():
            shutil.rmtree(folder)
        see("serve: upload folder deleted", server.post())
        assert [path.stat().st_mode & 0o777 for path in server.uploads.rglob("*") if path.is_dir()] == [0o700] * 2
        shutil.rmtree(scene.folder / "whole")
        see("serve: model deleted", server.post())
        assert server.post().body == first.body


def test_memory_is_too_small_for_a_batch_or_a_clip(scene: Scene, tmp_path: Path):
    dark = plain_clip(tmp_path / "dark.mp4", DARK)

    async def several(server: Served) -> list[Answer]:
        return await asyncio.gather(*(server.predict() for _ in range(6)))

    with served(scene, "--max-wait-ms", 500, traps=("out_of_memory=1", "dark_needs_memory")) as server:
        answers = asyncio.run(several(server))
        assert len({answer.body for answer in answers}) == 1
        see("serve: batch out of memory", answers[0])
        see("serve: out of memory", server.post(dark))
        assert server.post().status == 200


def test_sigterm_under_load_answers_what_was_accepted(scene: Scene, tmp_path: Path):
    dark = plain_clip(tmp_path / "dark.mp4", DARK)

    go = scene.folder / "go"

    async def stop_under_load(server: Served) -> list[Answer]:
        posted = [asyncio.create_task(server.predict(content)) for content in [dark] * 5]
        await until(lambda: server.num_inflight() == len(posted))
        server.command.send(signal.SIGTERM)
        await asyncio.sleep(0.2)
        go.touch()
        return await asyncio.gather(*posted)

    with served(scene, traps=(f"dark_waits={go}",), stops=False) as server:
        answers = asyncio.run(stop_under_load(server))
        assert [answer.status for answer in answers] == [200] * 5
    scene.see("serve: SIGTERM", server.command.wait())


def test_port_in_use_is_refused(scene: Scene):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        scene.see("serve: port in use", scene.run("serve", "--model", "whole", "--port", other.getsockname()[1]))


def test_token_file_without_token_is_refused(scene: Scene):
    command = ("serve", "--model", "whole", "--token-file", "token")
    scene.see("serve: token file missing", scene.run(*command))
    (scene.folder / "token").touch()
    scene.see("serve: token file empty", scene.run(*command))


def test_token_file_that_others_can_read_is_a_warning(scene: Scene):
    (scene.folder / "token").write_text(TOKEN)
    (scene.folder / "token").chmod(0o644)
    with served(scene, "--token-file", "token") as server:
        assert server.post().status == 401
        err = (server.command.logs / "err").read_text()
        assert f"stderr: {err.strip()}" == FAULTS["serve: token file readable"].observed
