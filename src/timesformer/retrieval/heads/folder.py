"""The folder of a trained head, in a run folder.

config.toml              the `HeadRun`
metrics.csv              one row per strength of the cross-validation
predictions.csv          one row per validation row
evaluation.json          the evaluation on the validation rows, with chance and majority class
index.html               its report
head/head.safetensors    the tensors of the head
head/head.json           its kind, classes, origin of its features, columns, and the SHA-256 of head.safetensors
model/                   the model that computed the features, with the head, if it was named
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from timesformer.config.class_names_file import is_class_name
from timesformer.errors import ConfigError, WeightsError
from timesformer.files import replacing_durably, sha256_of
from timesformer.heads.head import Head
from timesformer.heads.kind import HeadKind
from timesformer.outputs import writing
from timesformer.retrieval.heads.rows import Origin
from timesformer.weights.fields import read_json_object
from timesformer.weights.model_folder import is_model_folder

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class HeadFolder:
    """Paths of the files of a run."""

    root: Path

    @property
    def config(self) -> Path:
        """The `HeadRun`."""
        return self.root / "config.toml"

    @property
    def metrics(self) -> Path:
        """The cross-validation."""
        return self.root / "metrics.csv"

    @property
    def predictions(self) -> Path:
        """The validation rows."""
        return self.root / "predictions.csv"

    @property
    def evaluation(self) -> Path:
        """The evaluation as JSON."""
        return self.root / "evaluation.json"

    @property
    def page(self) -> Path:
        """The report."""
        return self.root / "index.html"

    @property
    def tensors(self) -> Path:
        """The tensors of the head."""
        return self.root / "head" / "head.safetensors"

    @property
    def head(self) -> Path:
        """What describes the head; written last."""
        return self.root / "head" / "head.json"

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.root / "model"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files outside the model folder, the one that makes the folder valid first."""
        return (
            self.head, self.tensors, self.evaluation, self.page, self.predictions, self.metrics, self.config,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredHead:
    """A head, its classes, and the features that it reads."""

    head: Head
    class_names: tuple[str, ...]
    origin: Origin
    majority_class: str
    """The most frequent class of the training rows."""
    embedding_column: str
    label_column: str
    group_column: str


def holds_head(root: str | Path) -> bool:
    """Whether a folder holds a trained head."""
    return HeadFolder(Path(root).expanduser()).head.is_file()


def check_target(folder: HeadFolder, *, overwrite: bool) -> None:
    """Refuse a folder that holds a run, unless it may be replaced and is that of a head.

    Raises:
        ConfigError: It holds a run.
    """
    existing = [path for path in (*folder.files, folder.model) if path.exists()]
    if not existing:
        return
    if not folder.head.parent.is_dir():
        raise ConfigError(
            f"output={str(folder.root)!r} holds a run that was trained on videos ({existing[0].name}): name another "
            "folder for a head"
        )
    if not overwrite:
        raise ConfigError(
            f"output={str(folder.root)!r} already holds a run: name another folder, or pass overwrite=True "
            "(--overwrite) to replace it"
        )
    if folder.model.exists() and not is_model_folder(folder.model):
        raise ConfigError(f"{folder.model}: is not a model folder: refusing to remove it")


def save_head(stored: StoredHead, folder: HeadFolder) -> None:
    """Write a head; `head.json` last, without which the folder holds none.

    Raises:
        WeightsError: The disk refused.
    """
    with writing(folder.head, error=WeightsError):
        folder.head.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.head.tensors.items()}
        with replacing_durably(folder.tensors) as partial:
            save_file(tensors, partial)
            partial.chmod(0o644)
        text = json.dumps(_content(stored, sha256=sha256_of(folder.tensors)), indent=1) + "\n"
        with replacing_durably(folder.head) as partial:
            partial.write_text(text, "utf-8")


def _content(stored: StoredHead, *, sha256: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "kind": stored.head.kind,
        "shape": list(stored.head.shape),
        "class_names": list(stored.class_names),
        "majority_class": stored.majority_class,
        **asdict(stored.origin),
        "embedding_column": stored.embedding_column,
        "label_column": stored.label_column,
        "group_column": stored.group_column,
        "sha256": sha256,
    }


def load_head(root: str | Path) -> StoredHead:
    """Read the head of a run folder.

    Raises:
        WeightsError: The folder holds no head, a newer version wrote it, or a file is damaged.
    """
    folder = HeadFolder(Path(root).expanduser())
    if not folder.head.is_file():
        raise WeightsError(f"{root}: holds no head: train one with `timesformer train --features`")
    values = read_json_object(folder.head)
    if values.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{folder.head}: format_version={values.get('format_version')}, this release reads {FORMAT_VERSION}"
        )
    try:
        stated = sha256_of(folder.tensors)
        tensors = load_file(folder.tensors) if stated == values["sha256"] else {}
        stored = _stored(values, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder.head.parent}: is damaged: {type(error).__name__}: {error}") from error
    if stated != values["sha256"]:
        raise WeightsError(f"{folder.tensors}: was damaged or changed after it was saved: its SHA-256 is {stated}")
    _check(stored, values, folder)
    return stored


def _stored(values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> StoredHead:
    names = ("majority_class", "embedding_column", "label_column", "group_column")
    return StoredHead(
        head=Head(values["kind"], tensors),
        class_names=tuple(values["class_names"]),
        origin=Origin(model_sha256=values["model_sha256"], level=values["level"]),
        **{name: str(values[name]) for name in names},
    )


def _check(stored: StoredHead, values: dict[str, Any], folder: HeadFolder) -> None:
    """Refuse a head whose parts do not fit each other."""
    names: Sequence[str] = stored.class_names
    wanted = {"linear": {"weight", "bias"}, "attentive": {"weight", "bias", "query", "time_bias"}}
    fits = (
        stored.head.kind in get_args(HeadKind)
        and stored.head.tensors.keys() == wanted[stored.head.kind]
        and list(stored.head.shape) == values["shape"]
        and stored.head.num_classes == len(names) == len(set(names))
        and stored.majority_class in names
        and all(isinstance(name, str) and is_class_name(name) for name in names)
    )
    if not fits:
        raise WeightsError(f"{folder.head}: does not describe {folder.tensors.name}: train the head again")
