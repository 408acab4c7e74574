"""The model folder: everything that a prediction depends on, in three files.

config.json         architecture, clips and preprocessing, license, origin, thresholds of timelines if chosen, and the
                    SHA-256 of model.safetensors
labels.txt          class names, one per line, in index order (absent if there are none)
model.safetensors   the weights, under our names
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from timesformer.bounds import MAX_CONFIG_BYTES, read_bounded_text
from timesformer.config.checks import check_positive
from timesformer.config.class_names_file import is_class_name
from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict, to_dict
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.config.thresholds import Thresholds, check_classes
from timesformer.errors import ConfigError, WeightsError
from timesformer.files import replacing, sha256_of, swap_folder
from timesformer.model.schemes import REGROUPS
from timesformer.model.timesformer import TimeSformer, scheme_of
from timesformer.outputs import refuse_existing, writing
from timesformer.weights.checkpoint import Checkpoint, parameter_shapes
from timesformer.weights.fields import read_json_object
from timesformer.weights.pickles import read_tensors
from timesformer.weights.source import check_sha256

FORMAT_VERSION = 1
MODEL_FILES = (
    "config.json",
    "labels.txt",
    "preprocessor_config.json",
    "timesformer.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin*",
)
"""Files that make up a model, in our folder or in one of `transformers`."""
_WEIGHTS = "model.safetensors"
_LABELS = "labels.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredConfig:
    """Content of a model folder's `config.json`."""

    format_version: int = FORMAT_VERSION
    model: ModelConfig = field(default_factory=ModelConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    license: str = "unspecified"
    source: str = ""
    clip_seconds: float | None = None
    thresholds: Thresholds | None = None
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        if self.clip_seconds is not None:
            check_positive("clip_seconds", self.clip_seconds)

    @classmethod
    def of(cls, config: ModelConfig, info: ModelInfo) -> "StoredConfig":
        """The content for a model; labels are stored in a file of their own."""
        return cls(
            model=config,
            clip=info.clip,
            license=info.license,
            source=info.source,
            clip_seconds=info.clip_seconds,
            thresholds=info.thresholds,
        )

    def info(self, *, labels: tuple[str, ...]) -> ModelInfo:
        """The info of the model."""
        return ModelInfo(
            clip=self.clip,
            labels=labels,
            license=self.license,
            source=self.source,
            clip_seconds=self.clip_seconds,
            thresholds=self.thresholds,
        )


def save(model: TimeSformer, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a model folder, all or nothing.

    Args:
        model: The model; its `info` is written too.
        folder: Target folder; its parents are created.
        overwrite: Replace an existing model folder.

    Raises:
        ConfigError: The folder already exists and `overwrite` is False.
        WeightsError: The existing folder is not a model folder, there is not one label per class, or the folder
            cannot be written.
    """
    check_readable(model)
    info, stored = model.info, StoredConfig.of(model.config, model.info)

    def write(target: Path) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(tensors, target / _WEIGHTS, metadata={"format": "pt"})
        hashed = replace(stored, weights_sha256=sha256_of(target / _WEIGHTS))
        (target / "config.json").write_text(json.dumps(to_dict(hashed), indent=2) + "\n", "utf-8")
        if info.labels:
            (target / _LABELS).write_text("\n".join(info.labels) + "\n", "utf-8")

    return write_folder(Path(folder), write, overwrite=overwrite)


def store_thresholds(folder: str | Path, thresholds: Thresholds) -> Path:
    """Store thresholds of timelines in a model folder; its other files are not touched.

    Args:
        folder: A model folder, or a run folder that holds one.
        thresholds: The thresholds; classes that they name are classes of the model.

    Returns:
        The file that was replaced: `config.json`.

    Raises:
        WeightsError: The folder is not a model folder, or the file cannot be written.
        ConfigError: The model does not have a class that the thresholds name.
    """
    path = threshold_file(folder)
    stored = _read_config(path)
    info = stored.info(labels=_read_labels(path.with_name(_LABELS), num_classes=stored.model.num_classes))
    check_classes(thresholds, tuple(map(info.label, range(stored.model.num_classes))))
    content = json.dumps(to_dict(replace(stored, thresholds=thresholds)), indent=2) + "\n"
    with writing(path, error=WeightsError), replacing(path) as partial:
        partial.write_text(content, "utf-8")
    return path


def threshold_file(folder: str | Path) -> Path:
    """The file in which `store_thresholds` stores thresholds, in a model folder or a run folder.

    Raises:
        WeightsError: The folder is neither.
    """
    folder = Path(folder).expanduser()
    for candidate in (folder, folder / "model"):
        if is_model_folder(candidate):
            return candidate / "config.json"
    raise WeightsError(f"{folder}: thresholds are stored in a model folder of this project, which this is not")


def check_readable(model: TimeSformer) -> None:
    """Refuse a model that could not be read back.

    Raises:
        WeightsError: There are labels, but not one for each class, or the config does not determine the scheme.
    """
    if model.scheme != scheme_of(model.config):
        raise WeightsError(
            "the model has custom regroups, which no config can name, so it could not be read back: save its "
            "state_dict() and rebuild it with TimeSformer(config, scheme=...); a scheme of known steps is "
            f"written as ModelConfig(scheme=(('time',), ('space',))); known: {', '.join(REGROUPS)}"
        )
    labels, classes = len(model.info.labels), model.config.num_classes
    if labels not in (0, classes):
        raise WeightsError(f"the model has {labels} labels and num_classes={classes}: give one per class, or none")


def write_folder(folder: Path, write: Callable[[Path], None], *, overwrite: bool) -> Path:
    """Fill a temporary folder next to `folder`, then replace `folder` by it.

    Files in `folder` that are not part of a model, such as a report, are kept.

    Raises:
        ConfigError: The folder already exists and `overwrite` is False.
        WeightsError: The existing folder is not a model folder, or the new one cannot be written; nothing is left
            half-written.
    """
    check_model_target(folder, overwrite=overwrite)
    staging: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        staging.chmod(0o755)
        write(staging)
        for file in staging.iterdir():
            file.chmod(0o644)  # safetensors lets only the owner read its files
        swap_folder(staging, folder, kept=_others)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{folder}: cannot be written: {_reason(error)}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return folder


def _reason(error: OSError | SafetensorError) -> str:
    """What the disk said, which safetensors wraps in its own words."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    code = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(code[1])) if code else str(error)


def check_model_target(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that `write_folder` cannot write or may not replace.

    Raises:
        ConfigError, WeightsError: As `write_folder`.
    """
    refuse_existing(folder, overwrite=overwrite)
    if folder.exists() and not _may_be_replaced(folder):
        raise WeightsError(f"{folder}: is not a model folder; refusing to replace it")


def _may_be_replaced(folder: Path) -> bool:
    """Whether a folder is empty or holds the config of a model, in our format or that of `transformers`."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    config = folder / "config.json"
    values = read_json_object(config) if config.exists() else {}
    return "format_version" in values or values.get("model_type") == "timesformer"


def _others(folder: Path) -> list[Path]:
    """Files in a model folder that are not part of the model; empty for a link, whose target stays."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if path.is_dir() or not any(fnmatch(path.name, pattern) for pattern in MODEL_FILES)
    ]


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a model in our format."""
    config = folder / "config.json"
    return config.exists() and "format_version" in read_json_object(config)


def read_folder(folder: Path) -> Checkpoint:
    """Read a model folder.

    Raises:
        WeightsError: A file is missing or damaged, a newer version wrote it, weights and config do not match, or the
            weights are not those that were saved.
        ConfigError: The config holds an unknown key or a value out of range.
    """
    path = folder / "config.json"
    stored = _read_config(path)
    labels = _read_labels(folder / _LABELS, num_classes=stored.model.num_classes)
    try:
        info = stored.info(labels=labels)
    except ConfigError as error:  # thresholds of a class that labels.txt does not name
        raise ConfigError(f"{path}: {error}") from error
    tensors, shapes = read_tensors(folder / _WEIGHTS), parameter_shapes(stored.model)
    wrong = [
        name
        for name in shapes.keys() | tensors.keys()
        if name not in tensors or shapes.get(name) != getattr(tensors[name], "shape", None)
    ]
    if wrong:
        raise WeightsError(f"{folder / _WEIGHTS}: does not match config.json at {', '.join(sorted(wrong)[:4])}")
    _check_weights(folder / _WEIGHTS, stored.weights_sha256)
    return Checkpoint("model folder", stored.model, info, tensors)


def _check_weights(path: Path, expected: str | None) -> None:
    """Refuse weights that are not those that were saved with the config; a folder without a hash is not checked."""
    if expected is None:
        return
    try:
        check_sha256(path, expected, stated_by=f"{path.parent / 'config.json'}")
    except WeightsError as error:
        raise WeightsError(
            f"{error}: the weights were damaged or changed after they were saved; if you changed them, delete "
            f"weights_sha256 from config.json"
        ) from error


def _read_config(path: Path) -> StoredConfig:
    values = read_json_object(path)
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise WeightsError(f"{path}: format_version={version}, this release reads {FORMAT_VERSION}")
    return from_dict(values, kind=StoredConfig, source=str(path))


def _read_labels(path: Path, *, num_classes: int) -> tuple[str, ...]:
    if not path.exists():
        return ()
    try:
        # splitlines would also split at characters such as U+2028; some editors write a byte order mark
        text = read_bounded_text(path, most=MAX_CONFIG_BYTES, error=WeightsError)
        labels = tuple(text.removesuffix("\n").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: cannot be read as text: {error}") from error
    if len(labels) != num_classes:
        raise WeightsError(f"{path}: has {len(labels)} names, the model has num_classes={num_classes}")
    unusable = next((index for index, label in enumerate(labels) if not is_class_name(label)), None)
    if unusable is not None:
        raise WeightsError(f"{path}: line {unusable + 1} is {labels[unusable]!r}, expected a class name")
    return labels
