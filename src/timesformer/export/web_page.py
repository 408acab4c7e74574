"""`export_web`: a folder with a static page that classifies videos in the browser, all or nothing."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from timesformer.errors import ConfigError, TimeSformerError
from timesformer.export.onnx import OnnxPrecision, export_onnx
from timesformer.export.sidecar import to_text
from timesformer.export.web_runtime import RUNTIME, WebRuntime, read_runtime
from timesformer.export.written import Exported
from timesformer.files import swap_folder
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import refuse_existing

_LARGE_FILE = 100 * 2**20
"""Largest file that GitHub Pages and many other static hosts accept, in bytes."""
_HEADERS = """/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
"""
"""For hosts that read a file `_headers` (Netlify, Cloudflare Pages): with these headers a browser allows threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebExport:
    """An exported page: its folder, the sizes of its parts in bytes, and the deviation of its model from torch.

    `difference` and `cosine` are those of `Exported`.
    """

    path: str
    precision: OnnxPrecision
    model_bytes: int
    runtime_bytes: int
    total_bytes: int
    difference: float
    cosine: float

    @property
    def has_large_file(self) -> bool:
        """Whether the model exceeds 100 MiB, the most that many static hosts accept for one file."""
        return self.model_bytes > _LARGE_FILE

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for JSON."""
        return asdict(self)


def export_web(
    model: TimeSformer,
    folder: str | Path,
    *,
    title: str = "TimeSformer",
    precision: OnnxPrecision = "fp32",
    runtime: str | Path | None = None,
    overwrite: bool = False,
    package: WebRuntime = RUNTIME,
) -> WebExport:
    """Write a static page that classifies a video file or the camera in the browser, with onnxruntime-web.

    The page makes no request to another host, and needs no headers of the server: with those in its file `_headers`
    the model runs on several threads, else on one.

    Args:
        model: The model.
        folder: Folder to write; its parents are created.
        title: Name of the model on the page.
        precision: Precision of the ONNX file.
        runtime: Tgz file or folder of onnxruntime-web; by default `npm pack` downloads it.
        overwrite: Replace a page that `export_web` wrote.
        package: Version of onnxruntime-web, and its hashes.

    Raises:
        ConfigError: The folder exists and `overwrite` is False, or it is not such a page; or the model has other than
            three channels, crops what moves (`region`), or reads differences (`background`).
        DependencyError: The exporter is not installed, or npm is needed and cannot download the runtime.
        WeightsError: `runtime` is not onnxruntime-web in the pinned version, or there is not one label per class.
        TimeSformerError: As `export_onnx`, or the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    check_web_target(folder, overwrite=overwrite)
    if model.config.in_channels != 3:
        raise ConfigError(f"in_channels={model.config.in_channels}: a page needs 3, the number of channels of a video")
    if model.info.clip.region == "motion":
        raise ConfigError(
            "region='motion': the page crops the middle of the frame, not what moves; `timesformer export --runner` "
            "writes a script that does"
        )
    if model.info.clip.background == "difference":
        raise ConfigError(
            "background='difference': the page shows a model the colors of frames, not their differences from the "
            "background; `timesformer export --runner` writes a script that does"
        )
    files = read_runtime(None if runtime is None else Path(runtime).expanduser(), runtime=package)
    staging: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        staging.chmod(0o755)
        exported = _fill(staging, model, precision, files, title=title, package=package)
        swap_folder(staging, folder, kept=_others)
    except OSError as error:
        raise TimeSformerError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return WebExport(
        path=str(folder),
        precision=precision,
        model_bytes=exported.bytes,
        runtime_bytes=sum(map(len, files.values())),
        total_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        difference=exported.difference,
        cosine=exported.cosine,
    )


def check_web_target(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that `export_web` could not write or may not replace.

    Raises:
        ConfigError: As `export_web`.
    """
    refuse_existing(folder, overwrite=overwrite)
    if folder.exists() and not _may_be_replaced(folder):
        raise ConfigError(f"{folder}: is not a page that `timesformer export --web` wrote; refusing to replace it")


def _may_be_replaced(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        described = json.loads((folder / "model.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and "web" in described and (folder / "index.html").is_file()


def _others(folder: Path) -> list[Path]:
    """Files in an old page's folder that are not part of the page, such as `CNAME` or `.git`."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    ours = {"model.onnx", "model.json", "_headers", "runtime", *(entry.name for entry in _page_files())}
    return [path for path in folder.iterdir() if path.name not in ours]


def _fill(
    staging: Path,
    model: TimeSformer,
    precision: OnnxPrecision,
    files: dict[str, bytes],
    *,
    title: str,
    package: WebRuntime,
) -> Exported:
    """Write all files of the page."""
    exported = export_onnx(model, staging / "model.onnx", precision=precision)
    described = json.loads(Path(exported.sidecar).read_text("utf-8"))
    web = {"title": title, "runtime_version": package.version, "runtime_bytes": len(files["ort.wasm"])}
    Path(exported.sidecar).write_text(to_text({**described, "web": web}), "utf-8")
    (staging / "_headers").write_text(_HEADERS, "utf-8")
    (staging / "runtime").mkdir()
    for name, content in files.items():
        (staging / "runtime" / name).write_bytes(content)
    _copy_page(staging)
    for file in staging.rglob("*"):
        os.chmod(file, 0o755 if file.is_dir() else 0o644)
    return exported


def _copy_page(staging: Path) -> None:
    """Copy the files of the page that are the same for every model."""
    for entry in _page_files():
        is_license = entry.name == "onnxruntime-license.txt"
        target = staging / "runtime" / "LICENSE.txt" if is_license else staging / entry.name
        target.write_bytes(entry.read_bytes())


def _page_files() -> list[Traversable]:
    folder = resources.files("timesformer.export").joinpath("web")
    return [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith((".", "__"))]
