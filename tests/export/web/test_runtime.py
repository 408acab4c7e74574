"""Where onnxruntime-web comes from, and what is refused."""

import os
import tarfile

import pytest

from timesformer.errors import DependencyError, WeightsError
from timesformer.export.web_runtime import RUNTIME, read_runtime
from web_pages import ORT, WASM, package

FILES = {"ort.js": ORT.encode(), "ort.wasm": WASM}


def _npm(folder, script, monkeypatch):
    """A program `npm` that is first on the PATH."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_tgz_file_gives_the_files_of_the_page(tmp_path):
    known = package(tmp_path / "any name.tgz")
    assert read_runtime(tmp_path / "any name.tgz", runtime=known) == FILES


@pytest.mark.parametrize("inside", ["", "package", "node_modules/tiny-runtime"])
def test_a_folder_gives_the_same(tmp_path, inside):
    known = package(tmp_path / "a.tgz")
    folder = tmp_path / "folder" / inside
    with tarfile.open(tmp_path / "a.tgz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    folder.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "unpacked" / "package").rename(folder)
    assert read_runtime(tmp_path / "folder", runtime=known) == FILES


def test_npm_downloads_it_by_default(tmp_path, monkeypatch):
    known = package(tmp_path / "packed.tgz")
    log = tmp_path / "log"
    _npm(tmp_path / "bin", f'echo "$@" > {log}; cp {tmp_path}/packed.tgz "$5/tiny-runtime-1.2.3.tgz"', monkeypatch)
    assert read_runtime(runtime=known) == FILES
    assert log.read_text().startswith("pack tiny-runtime@1.2.3 --ignore-scripts --pack-destination ")


def test_a_failing_npm_says_why(tmp_path, monkeypatch):
    _npm(tmp_path / "bin", "echo 'npm error code E404' >&2; echo 'npm error no such thing' >&2; exit 1", monkeypatch)
    with pytest.raises(DependencyError, match=r"^`npm pack tiny-runtime@1\.2\.3` failed: code E404 no such thing$"):
        read_runtime(runtime=package(tmp_path / "a.tgz"))


def test_without_npm_the_error_names_the_command(tmp_path, monkeypatch):
    known = package(tmp_path / "a.tgz")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError) as caught:
        read_runtime(runtime=known)
    assert str(caught.value) == (
        "the page needs tiny-runtime, and npm, which downloads it, is not installed: run `npm pack tiny-runtime@1.2.3` "
        "where npm is, and give tiny-runtime-1.2.3.tgz as runtime"
    )


def test_another_file_is_refused_by_its_hash(tmp_path):
    known = package(tmp_path / "a.tgz")
    package(tmp_path / "b.tgz", files={"dist/loader.mjs": b"other", "dist/runtime.wasm": WASM})
    with pytest.raises(WeightsError, match=r"b\.tgz: is not tiny-runtime 1\.2\.3: its hash is sha512-\S+, not sha512-"):
        read_runtime(tmp_path / "b.tgz", runtime=known)


def test_a_changed_folder_is_refused(tmp_path):
    known = package(tmp_path / "a.tgz")
    with tarfile.open(tmp_path / "a.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "package" / "dist" / "runtime.wasm").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"package: dist/runtime\.wasm is not that of tiny-runtime 1\.2\.3; get "):
        read_runtime(tmp_path / "package", runtime=known)


def test_missing_sources_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.tgz: no such file or folder; get the file with: npm pack onnx"):
        read_runtime(tmp_path / "none.tgz")
    with pytest.raises(WeightsError, match=r"holds no dist/ort\.wasm\.bundle\.min\.mjs of onnxruntime-web; get the"):
        read_runtime(tmp_path)


def test_the_pinned_version_is_named_by_its_command():
    assert RUNTIME.command == f"npm pack onnxruntime-web@{RUNTIME.version}"
    assert RUNTIME.integrity.startswith("sha512-") and len(RUNTIME.integrity) == 95
