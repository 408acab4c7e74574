"""The folder of a page: complete or absent, and never in place of something else."""

import json
import shutil

import pytest

from timesformer.cli.main import main
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.export import web_page
from timesformer.export.parity import Deviation
from timesformer.export.sidecar import sidecar
from timesformer.export.web_page import export_web
from timesformer.export.web_runtime import RUNTIME
from timesformer.export.written import exported
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from web_pages import ORT, PAGE, WASM, package

COMMAND = RUNTIME.command


@pytest.fixture
def model():
    return random_model(tiny_config())


@pytest.fixture
def known(tmp_path):
    return package(tmp_path / "runtime.tgz")


@pytest.fixture
def quick(monkeypatch):
    """Exports that trace nothing."""

    def export(model, path, *, precision):
        properties = {"kind": "onnx", "precision": precision, "dynamic_frames": True, "least_frames": 1}
        described = sidecar(
            model.config, model.info, file=path.name, content=b"onnx", export=properties, weights_sha256="0" * 64
        )
        deviation = Deviation(difference=0.25, cosine=0.5)
        return exported(path, b"onnx", described, deviation, sizes=(), least_frames=1)

    monkeypatch.setattr(web_page, "export_onnx", export)


def _export(model, folder, known, **options):
    return export_web(model, folder, runtime=folder.parent / "runtime.tgz", package=known, **options)


def _names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_folder_holds_the_page_the_model_and_two_files_of_the_runtime(tmp_path, model, known, quick):
    done = _export(model, tmp_path / "site", known, title="mine")
    page = {path.name for path in PAGE.iterdir() if path.suffix != ".txt"}
    runtime = {"runtime/ort.js", "runtime/ort.wasm", "runtime/LICENSE.txt"}
    assert _names(tmp_path / "site") == page | runtime | {"model.onnx", "model.json", "_headers"}
    assert (tmp_path / "site/runtime/ort.js").read_text() == ORT
    assert (done.model_bytes, done.runtime_bytes) == (4, len(ORT) + len(WASM))
    assert done.total_bytes == sum(path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file())
    described = json.loads((tmp_path / "site/model.json").read_text())
    assert described["web"] == {"title": "mine", "runtime_version": "1.2.3", "runtime_bytes": len(WASM)}
    assert described["num_frames"] == 3 and described["crop"]["size"] == [8, 20]


def test_all_files_may_be_read_by_a_web_server(tmp_path, model, known, quick):
    _export(model, tmp_path / "site", known)
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "site").rglob("*") if path.is_file()} == {"0o644"}


def test_the_page_asks_no_other_host():
    for path in PAGE.iterdir():
        text = path.read_text("utf-8")
        addresses = {word for word in text.replace('"', " ").split() if "://" in word}
        assert all("localhost:8000" in word or path.suffix == ".txt" for word in addresses), path.name
    assert "default-src 'none'" in (PAGE / "index.html").read_text()


def test_an_existing_folder_is_kept_without_overwrite(tmp_path, model, known, quick):
    _export(model, tmp_path / "site", known)
    with pytest.raises(ConfigError, match=r"site.* overwrite=True"):
        _export(model, tmp_path / "site", known)


def test_overwriting_keeps_what_is_not_part_of_the_page(tmp_path, model, known, quick):
    _export(model, tmp_path / "site", known, title="old")
    (tmp_path / "site/CNAME").write_text("example.org")
    (tmp_path / "site/runtime/old.wasm").write_text("old")
    _export(model, tmp_path / "site", known, title="new", overwrite=True)
    assert (tmp_path / "site/CNAME").read_text() == "example.org"
    assert not (tmp_path / "site/runtime/old.wasm").exists()
    assert json.loads((tmp_path / "site/model.json").read_text())["web"]["title"] == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runtime.tgz", "site"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path, model, known, quick):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"site: is not a page that `timesformer export --web` wrote; refusing to"):
        _export(model, tmp_path / "site", known, overwrite=True)
    assert _names(tmp_path / "site") == {"thesis.txt"}


def test_a_failure_leaves_nothing(tmp_path, model, known, monkeypatch):
    def fail(model, path, *, precision):
        path.write_bytes(b"half")
        raise TimeSformerError("the graph is wrong")

    monkeypatch.setattr(web_page, "export_onnx", fail)
    with pytest.raises(TimeSformerError, match="the graph is wrong"):
        _export(model, tmp_path / "site", known)
    assert [path.name for path in tmp_path.iterdir()] == ["runtime.tgz"]


def test_other_than_three_channels_are_refused(tmp_path, known):
    with pytest.raises(ConfigError, match=r"^in_channels=2: a page needs 3, the number of channels of a video$"):
        _export(random_model(tiny_config(in_channels=2)), tmp_path / "site", known)
    info = ModelInfo(clip=ClipConfig(region="motion", num_crops=1))
    with pytest.raises(ConfigError, match=r"^region='motion': the page crops the middle of the frame, not what moves;"):
        _export(random_model(tiny_config(), info=info), tmp_path / "site", known)


def _command(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, arguments)])
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


@pytest.fixture
def folder(tmp_path, model):
    return save(model, tmp_path / "mine")


def test_the_command_line_writes_a_page(tmp_path, folder, quick, capsys, monkeypatch):
    monkeypatch.setattr(web_page, "read_runtime", lambda source, runtime: {"ort.js": b"js", "ort.wasm": b"wasm"})
    code, out, err = _command(capsys, folder, "--web", tmp_path / "site")
    assert (code, out) == (0, f"{tmp_path / 'site'}\n")
    assert "model 0.0 MiB, onnxruntime-web 0.0 MiB, in all 0.1 MiB" in err
    assert f"python -m http.server --directory {tmp_path / 'site'}, then http://localhost:8000" in err
    assert json.loads((tmp_path / "site/model.json").read_text())["web"]["title"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to write: give --output FILE, or --web DIR for a page"),
        (
            ["--output", "a.onnx", "--runtime", "r.tgz"],
            "--runtime has no effect without --web DIR, the page that it",
        ),
        (["--web", "site", "--runner"], "--runner has no effect with --web: a page holds one ONNX file"),
        (["--web", "site", "--to", "program"], "--to program has no effect with --web: a page holds one ONNX file"),
        (["--output", "a.onnx", "--web", "site"], "--output and --web are two results: give one, and export again"),
        (
            ["--web", "site", "--runtime", "r.tgz"],
            f"r.tgz: no such file or folder; get the file with: {COMMAND}",
        ),
    ],
)
def test_wrong_options_are_explained(tmp_path, folder, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = _command(capsys, folder, *arguments)
    assert code != 0 and message in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_broken_package_is_refused_before_the_export(tmp_path, folder, capsys):
    (tmp_path / "r.tgz").write_bytes(b"nothing")
    code, _, err = _command(capsys, folder, "--web", tmp_path / "site", "--runtime", tmp_path / "r.tgz")
    assert code != 0 and "r.tgz: is not onnxruntime-web 1.30.0: its hash is sha512-" in err
    shutil.rmtree(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["r.tgz"]
