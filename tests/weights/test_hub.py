"""Models of the hub, from a stand-in on the loopback address: revisions, hashes, the cache and tampered files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from hub_server import Hub, Repository, serve_hub
from timesformer.weights import save, save_transformers
from tiny import random_model, square_config, tiny_config

_CHILD = """
import json, logging, sys
logging.basicConfig(stream=sys.stderr)
from timesformer.errors import TimeSformerError
from timesformer.weights.load import load
for line in sys.stdin:
    source, options = json.loads(line)
    try:
        model = load(source, **options)
        report = model.load_report
        answer = {"commit": report.commit, "verified": sorted(report.verified), "info": model.info.source,
                  "text": str(report), "format": report.format, "bias": model.head.bias[0].item()}
    except TimeSformerError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def hub() -> Generator[Hub]:
    with serve_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def environment(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the hub's client reads when it is imported: hence the other process."""
    home = tmp_path_factory.mktemp("hf")
    return {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@pytest.fixture(scope="module")
def ask(environment: dict[str, str]) -> Generator[Callable[..., dict]]:
    """`load` in a process that finds the stand-in."""
    command = [sys.executable, "-c", _CHILD]
    with subprocess.Popen(command, env=environment, text=True, stdin=-1, stdout=-1) as child:
        assert child.stdin is not None
        assert child.stdout is not None

        def ask(source: str, **options: object) -> dict:
            print(json.dumps([source, options]), file=child.stdin, flush=True)
            return json.loads(child.stdout.readline())

        yield ask
        child.stdin.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """The files of one model with two different heads."""
    folder = tmp_path_factory.mktemp("models")
    return [files_of(save(random_model(tiny_config(), seed=seed), folder / str(seed))) for seed in (0, 1)]


def cached(environment: dict[str, str], name: str, commit: str) -> Path:
    return Path(environment["HF_HOME"], "hub", f"models--{name.replace('/', '--')}", "snapshots", commit)


def test_a_revision_is_loaded_and_its_commit_is_recorded(hub: Hub, ask: Callable, versions: list[dict[str, bytes]]):
    repository = hub.repositories["lab/two"] = Repository()
    first = repository.commit(versions[0], "v1")
    second = repository.commit(versions[1], "v2")
    latest, tagged, pinned = ask("lab/two"), ask("lab/two@v1"), ask("lab/two", revision=first)
    assert (latest["commit"], tagged["commit"], pinned["commit"]) == (second, first, first)
    assert tagged["bias"] == pinned["bias"] != latest["bias"]
    assert latest["verified"] == ["config.json", "model.safetensors"]
    assert latest["info"] == f"lab/two@{second}"
    assert latest["text"].splitlines()[1] == f"  commit  {second}; 2 files have the hashes that the hub states"


def test_commit_that_is_in_the_cache_is_read_without_the_hub(hub: Hub, ask: Callable, versions: list[dict[str, bytes]]):
    repository = hub.repositories["lab/cached"] = Repository()
    commit = repository.commit(versions[0])
    ask(f"lab/cached@{commit}")
    hub.requests.clear()
    assert ask(f"lab/cached@{commit}")["commit"] == commit
    assert hub.requests == []


def test_pickles_are_fetched_only_from_a_model_without_safetensors(hub: Hub, ask: Callable, tmp_path: Path):
    files = files_of(save_transformers(random_model(square_config()), tmp_path / "theirs"))
    repository = hub.repositories["lab/both"] = Repository()
    repository.commit({**files, "pytorch_model.bin": b"\x80\x04never read"})
    answer = ask("lab/both")
    assert answer["format"] == "transformers"
    assert not any("pytorch_model.bin" in request for request in hub.requests)
    repository.commit({"config.json": files["config.json"], "pytorch_model.bin": b"\x80\x04not weights"})
    assert "pytorch_model.bin: " in ask("lab/both")["error"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_file_that_is_not_what_the_hub_states_is_refused(
    hub: Hub, ask: Callable, versions: list[dict[str, bytes]], name: str
):
    repository = hub.repositories[f"lab/bad-{Path(name).stem}"] = Repository()
    repository.commit(versions[0])
    sent = bytearray(versions[0][name])
    sent[-3] ^= 1  # the same size, which is all that the hub's client checks
    repository.tampered[name] = bytes(sent)
    error = ask(f"lab/bad-{Path(name).stem}")["error"]
    assert f"{name}: its hash is " in error
    assert "the Hugging Face hub states" in error
    assert "the download is damaged or was changed; delete " in error


def test_file_that_was_changed_in_the_cache_is_refused(
    hub: Hub, ask: Callable, versions: list[dict[str, bytes]], environment: dict[str, str]
):
    repository = hub.repositories["lab/changed"] = Repository()
    commit = repository.commit(versions[0])
    assert "error" not in ask("lab/changed")
    path = cached(environment, "lab/changed", commit) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "model.safetensors: its hash is " in ask(f"lab/changed@{commit}")["error"]


def test_cache_without_links_is_checked_by_asking_the_hub(
    hub: Hub, ask: Callable, versions: list[dict[str, bytes]], environment: dict[str, str]
):
    repository = hub.repositories["lab/plain"] = Repository()
    commit = repository.commit(versions[0])
    ask("lab/plain")
    folder = cached(environment, "lab/plain", commit)
    for path in folder.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    assert ask(f"lab/plain@{commit}")["verified"] == ["config.json", "model.safetensors"]
    (folder / "config.json").write_bytes(versions[0]["config.json"] + b" ")
    assert "config.json: its hash is " in ask(f"lab/plain@{commit}")["error"]


def test_file_whose_hash_is_not_known_is_named_in_a_warning(
    hub: Hub, ask: Callable, versions: list[dict[str, bytes]], environment: dict[str, str]
):
    repository = hub.repositories["lab/offline"] = Repository()
    commit = repository.commit(versions[0])
    ask("lab/offline")
    folder = cached(environment, "lab/offline", commit)
    (folder / "config.json").unlink()
    (folder / "config.json").write_bytes(versions[0]["config.json"])
    code = "from timesformer.weights.load import load; print(*load('lab/offline').load_report.verified)"
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=offline, capture_output=True, text=True, check=True)
    assert done.stdout == "model.safetensors\n"
    assert done.stderr == "lab/offline: not checked, because the hub cannot be asked for their hashes: config.json\n"


def test_given_hash_is_checked_too(hub: Hub, ask: Callable, versions: list[dict[str, bytes]]):
    hub.repositories["lab/given"] = Repository()
    hub.repositories["lab/given"].commit(versions[0])
    assert "but sha256 states 000000" in ask(f"lab/given#sha256={'0' * 64}")["error"]


def test_unknown_revision_and_unknown_model_are_told_apart(hub: Hub, ask: Callable, versions: list[dict[str, bytes]]):
    hub.repositories["lab/known"] = Repository()
    hub.repositories["lab/known"].commit(versions[0])
    assert ask("lab/known@v9")["error"] == "lab/known: the Hugging Face hub has no revision 'v9' of this model"
    assert "lab/unknown: no such folder, and the Hugging Face hub returned no model" in ask("lab/unknown")["error"]


def test_repository_without_a_model_is_refused(hub: Hub, ask: Callable):
    hub.repositories["lab/empty"] = Repository()
    hub.repositories["lab/empty"].commit({"data.csv": b"1,2"})
    assert ask("lab/empty")["error"] == "lab/empty: has neither a config.json nor weights on the Hugging Face hub"


def test_command_line_takes_a_revision(
    hub: Hub, environment: dict[str, str], versions: list[dict[str, bytes]], tmp_path: Path
):
    hub.repositories["lab/cli"] = Repository()
    commit = hub.repositories["lab/cli"].commit(versions[0], "v1")
    command = [sys.executable, "-m", "timesformer", "info", "lab/cli@v1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"lab/cli@{commit}" in done.stdout
