"""The pins: complete, hashed, the same in both files, and within what pyproject.toml admits."""

import re
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONSTRAINTS = (ROOT / "constraints.txt").read_text("utf-8")
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
BLOCKS = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)( ;[^\\\n]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", LOCK)


def tool(name: str):
    spec = spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def required() -> list[Requirement]:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = document["project"]["optional-dependencies"]
    lists = [document["project"]["dependencies"], *extras.values(), *document["dependency-groups"].values()]
    return [Requirement(line) for lines in lists for line in lines]


def test_both_files_pin_the_same_versions():
    pins = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    assert [f"{name}=={version}{marker.rstrip()}" for name, version, marker, _ in BLOCKS] == pins


def test_every_pin_has_a_hash():
    assert len(BLOCKS) > 100
    assert [name for name, _, _, hashes in BLOCKS if not hashes] == []


@pytest.mark.parametrize("requirement", required(), ids=str)
def test_pin_of_every_requirement_is_within_its_range(requirement: Requirement):
    name = canonicalize_name(requirement.name)
    versions = [version for pinned, version, _, _ in BLOCKS if pinned == name]
    if name == "torchcodec":  # its version depends on the build of torch
        assert versions == []
    else:
        assert versions
        assert all(version in requirement.specifier for version in versions)


def test_torch_is_admitted_from_pypi_and_as_cpu_build():
    wheels = (ROOT / "tools/torch_cpu_hashes.txt").read_text("utf-8").split("\n")
    listed = [line.split() for line in wheels if line and not line.startswith("#")]
    (torch,) = [block for block in BLOCKS if block[0] == "torch"]
    hashes = re.findall(r"sha256:(\w+)", torch[3])
    assert [digest for digest, _ in listed] == hashes[-len(listed) :]
    assert len(hashes) > len(listed) == len({name for _, name in listed})
    assert all(name.startswith(f"torch-{torch[1]}+cpu-cp3") for _, name in listed)


def test_hashes_of_cpu_builds_are_added_to_torch_alone():
    start = "tomli==2 \\\n    --hash=sha256:aa\ntorch==2.13.0 \\\n    --hash=sha256:bb\n"
    end = "torchmetrics==1 \\\n    --hash=sha256:cc\n"
    module = tool("lock")
    added = module.with_cpu_builds(start + end)
    assert added.startswith(start.rstrip("\n") + " \\\n    --hash=sha256:6746dbcb")
    assert added.endswith("\n" + end)
    assert module.without_hashes(added) == "tomli==2\ntorch==2.13.0\ntorchmetrics==1\n"


def test_cpu_builds_of_another_torch_stop_the_lock(monkeypatch: pytest.MonkeyPatch):
    module = tool("lock")
    monkeypatch.setattr(module, "TORCH", "2.14.0")
    with pytest.raises(SystemExit, match=r"must list the CPU builds of torch 2\.14\.0, not torch-2\.13\.0\+cpu-cp311"):
        module.with_cpu_builds("torch==2.14.0\n")


def _print_requirements(*names: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/requirements.py"), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_requirements_of_extras_and_groups_are_printed():
    lines = _print_requirements("core", "train", "build").stdout.splitlines()
    assert {"torch>=2.8", "lightning>=2.6.4,<3", "hatchling>=1.27"} <= set(lines)
    assert not any(line.startswith(("pytest", "ray")) for line in lines)


def test_unknown_extra_is_named():
    done = _print_requirements("core", "trian")
    assert done.returncode == 1
    assert "trian: neither an extra nor a group of pyproject.toml; known: train, tensorboard," in done.stderr
