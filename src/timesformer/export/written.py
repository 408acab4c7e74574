"""`Exported`, and the files of an export: the model, its sidecar and a script that runs it, all or none."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from timesformer.errors import WeightsError
from timesformer.export.parity import Deviation, Size
from timesformer.export.sidecar import sidecar_path, to_text
from timesformer.files import replacing
from timesformer.outputs import refuse_existing, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported model and the deviation of its logits from torch's on random clips.

    `difference` is the largest of any logit, in standard deviations of the logits; `cosine` is the lowest similarity
    of any clip. Random clips verify the graph; `evaluate` measures the accuracy of int8 on videos.
    """

    path: str
    sidecar: str
    """Path of the JSON with preprocessing and labels."""
    runner: str
    """Path of the script that runs the file; empty if none was written."""
    precision: str
    bytes: int
    least_frames: int | None
    """Smallest number of frames that the file accepts; None if it accepts those of its config alone."""
    checked: tuple[tuple[int, int], ...]
    """Batch and frames of each input that was compared."""
    difference: float
    cosine: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for JSON."""
        return asdict(self)


def check_target(path: Path, *, suffix: str, overwrite: bool, with_runner: bool = False) -> None:
    """Refuse a path to which a model could not be exported.

    Raises:
        WeightsError: The name ends otherwise than in the suffix, or is that of a folder.
        ConfigError: One of the files exists and `overwrite` is False.
    """
    if path.suffix.lower() != suffix:
        raise WeightsError(f"{path}: the file name must end in {suffix}")
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; name a file")
    refuse_existing(*target_files(path, with_runner=with_runner), overwrite=overwrite)


def target_files(path: Path, *, with_runner: bool) -> list[Path]:
    """The files that an export writes."""
    return [path, sidecar_path(path), *([runner_path(path)] if with_runner else [])]


def runner_path(path: Path) -> Path:
    """The script that runs an exported file: `run_mine.py` for `mine.onnx`."""
    return path.with_name(f"run_{path.stem}.py")


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Write some files, none of them if one cannot be written.

    Raises:
        WeightsError: The disk refused.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            stack.enter_context(writing(path, error=WeightsError))
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(replacing(path)).write_bytes(content)


def exported(
    path: Path,
    content: bytes,
    described: Mapping[str, Any],
    deviation: Deviation,
    *,
    sizes: tuple[Size, ...],
    least_frames: int | None,
    runner: str = "",
) -> Exported:
    """Write the files of an export.

    Args:
        path: The file of the model.
        content: Its content.
        described: Its sidecar.
        deviation: Deviation of its logits.
        sizes: Sizes at which it was compared.
        least_frames: See `Exported`.
        runner: Content of the script, if one is written.
    """
    files = {path: content, sidecar_path(path): to_text(described).encode()}
    if runner:
        files[runner_path(path)] = runner.encode()
    write_files(files)
    return Exported(
        path=str(path),
        sidecar=str(sidecar_path(path)),
        runner=str(runner_path(path)) if runner else "",
        precision=described["model"]["precision"],
        bytes=len(content),
        least_frames=least_frames,
        checked=tuple((size.batch, size.frames) for size in sizes),
        difference=deviation.difference,
        cosine=deviation.cosine,
    )
