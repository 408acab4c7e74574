"""onnxruntime-web, which runs ONNX models in a browser: one pinned version, checked before it is used.

A page needs two files of the npm package, its loader and one wasm file; they come from the package's tgz file, from a
folder that holds it, or from `npm pack`. The package holds no text of its license, so this file adds it.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from timesformer.errors import DependencyError, WeightsError


class WebRuntime(NamedTuple):
    """A version of an npm package, and the files of it that a page needs."""

    name: str
    version: str
    integrity: str
    """Hash of the tgz file, as npm states it: `sha512-` and base64."""
    files: Mapping[str, tuple[str, str]]
    """For each file of the page: its path in the package, and its SHA-256."""

    @property
    def command(self) -> str:
        """The command that downloads the tgz file."""
        return f"npm pack {self.name}@{self.version}"

    @property
    def tgz(self) -> str:
        """File name of the package, as `npm pack` writes it."""
        return f"{self.name}-{self.version}.tgz"


RUNTIME = WebRuntime(
    "onnxruntime-web",
    "1.30.0",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    MappingProxyType(
        {
            "ort.js": (
                "dist/ort.wasm.bundle.min.mjs",
                "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
            ),
            "ort.wasm": (
                "dist/ort-wasm-simd-threaded.wasm",
                "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
            ),
        }
    ),
)
"""The pinned version."""

_SECONDS = 600


def read_runtime(source: Path | None = None, *, runtime: WebRuntime = RUNTIME) -> dict[str, bytes]:
    """Read the files of a page from an npm package, and check their hashes.

    Args:
        source: The package's tgz file, or a folder with its files, such as `node_modules/onnxruntime-web`; by default
            `npm pack` downloads it from the registry that npm is configured for.
        runtime: The package, its version and its hashes.

    Returns:
        Content of each file of `runtime.files`.

    Raises:
        DependencyError: npm is needed and not installed, or cannot download the package.
        WeightsError: `source` does not exist, or is not the package in this version.
    """
    if source is None:
        return _downloaded(runtime)
    if source.is_dir():
        return _from_folder(source, runtime)
    if not source.is_file():
        raise WeightsError(f"{source}: no such file or folder; get the file with: {runtime.command}")
    return _from_tgz(source, runtime)


def _downloaded(runtime: WebRuntime) -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise DependencyError(
            f"the page needs {runtime.name}, and npm, which downloads it, is not installed: run `{runtime.command}` "
            f"where npm is, and give {runtime.tgz} as runtime"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, *runtime.command.split()[1:], "--ignore-scripts", "--pack-destination", folder]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DependencyError(f"`{runtime.command}` failed: {_one_line(str(error))}") from error
        if done.returncode:
            raise DependencyError(f"`{runtime.command}` failed: {_one_line(done.stderr)}")
        return _from_tgz(Path(folder) / runtime.tgz, runtime)


def _one_line(text: str) -> str:
    lines = [line.removeprefix("npm error ") for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3])[:300] or "it gave no reason"


def _from_tgz(path: Path, runtime: WebRuntime) -> dict[str, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    found = "sha512-" + b64encode(hashlib.sha512(content).digest()).decode()
    if found != runtime.integrity:
        raise WeightsError(
            f"{path}: is not {runtime.name} {runtime.version}: its hash is {found}, not {runtime.integrity}; get the "
            f"file with: {runtime.command}"
        )
    with tarfile.open(path) as archive:  # a file with this hash is the package
        files = {name: archive.extractfile(f"package/{inside}") for name, (inside, _) in runtime.files.items()}
        return _checked({name: file.read() for name, file in files.items() if file}, path, runtime)


def _from_folder(folder: Path, runtime: WebRuntime) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, (inside, _) in runtime.files.items():
        candidates = [folder / inside, folder / "package" / inside, folder / "node_modules" / runtime.name / inside]
        path = next(filter(Path.is_file, candidates), None)
        if path is None:
            raise WeightsError(
                f"{folder}: holds no {inside} of {runtime.name}; get the package with: {runtime.command}"
            )
        try:
            found[name] = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    return _checked(found, folder, runtime)


def _checked(found: dict[str, bytes], source: Path, runtime: WebRuntime) -> dict[str, bytes]:
    for name, (inside, sha256) in runtime.files.items():
        if hashlib.sha256(found[name]).hexdigest() != sha256:
            raise WeightsError(
                f"{source}: {inside} is not that of {runtime.name} {runtime.version}; get the package with: "
                f"{runtime.command}"
            )
    return found
