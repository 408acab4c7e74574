"""A model in an ONNX file, as `timesformer export` writes it, run by ONNX Runtime on the CPU.

The file holds everything that a prediction depends on: the graph, and in its metadata the config, clips, labels and
license.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.config.class_names_file import is_class_name
from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict, to_dict
from timesformer.config.overrides import ModelOverrides
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, DependencyError, WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.load import load
from timesformer.weights.model_folder import FORMAT_VERSION, StoredConfig
from timesformer.weights.source import check_sha256, parse_source

_CONFIG, _LABELS, _LEAST_FRAMES = "timesformer.config", "timesformer.labels", "timesformer.least_frames"


class OnnxModel(nn.Module):
    """An ONNX file with the interface of `TimeSformer`: config, info, and logits of clips.

    It has no parameters and stays on the CPU.

    Args:
        session: An `onnxruntime.InferenceSession` with one input, the clips, and one output, the logits.
        config: The architecture; clips must have its channels, height and width, and any batch.
        info: Preprocessing, label names and license.
        path: The file of the session, which is opened again on unpickling: a session cannot be pickled.
        least_frames: Smallest number of frames of a clip; None if it must be that of the config.
    """

    def __init__(
        self, session: Any, *, config: ModelConfig, info: ModelInfo, path: Path, least_frames: int | None = None
    ) -> None:
        super().__init__()
        self.session = session
        self.path = path
        self.config = config
        self.info = info
        self.least_frames = least_frames

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of normalized clips.

        Raises:
            ConfigError: The clips do not have the size that the file was exported for.
        """
        config, least = self.config, self.least_frames
        frames = config.num_frames if least is None else max(clips.shape[2], least)
        if tuple(clips.shape[1:]) != (config.in_channels, frames, *config.image_size):
            given = config.num_frames if least is None else f"{least} or more"
            wanted = f"{config.in_channels}, {given}, {', '.join(map(str, config.image_size))}"
            raise ConfigError(
                f"clips of shape {tuple(clips.shape)} do not fit: the ONNX file was exported for [batch, {wanted}]; "
                f"export the model again for other sizes"
            )
        return run_session(self.session, clips)

    def with_frames(self, num_frames: int) -> "OnnxModel":
        """The same file for clips of another length.

        Raises:
            ConfigError: The file cannot take that number of frames.
        """
        if self.least_frames is None:
            raise ConfigError(
                f"num_frames={num_frames}: the ONNX file was exported for {self.config.num_frames} frames alone; "
                f"change the model and export it again"
            )
        if num_frames < self.least_frames:
            raise ConfigError(f"num_frames={num_frames}: the ONNX file takes {self.least_frames} frames or more")
        config = replace(self.config, num_frames=num_frames)
        return OnnxModel(self.session, config=config, info=self.info, path=self.path, least_frames=self.least_frames)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self.path.absolute(), self.config, self.info, self.least_frames)


def _open(path: Path, config: ModelConfig, info: ModelInfo, least_frames: int | None) -> OnnxModel:
    return OnnxModel(open_session(path), config=config, info=info, path=path, least_frames=least_frames)


Classifier = TimeSformer | OnnxModel
"""A model for prediction and evaluation: it has `config` and `info`, and computes logits of clips."""


def run_session(session: Any, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
    """The first output of a session with one input."""
    name = session.get_inputs()[0].name
    return torch.from_numpy(session.run(None, {name: clips.detach().cpu().contiguous().numpy()})[0])


def open_session(model: bytes | Path) -> Any:
    """An `onnxruntime.InferenceSession` of a serialized model or a file, with as many threads as torch.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        WeightsError: ONNX Runtime cannot load the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "ONNX files need onnxruntime, which is not installed: pip install 'timesformer[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only; it warns of constants that it folds
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no other base class
        name = "the model" if isinstance(model, bytes) else model
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(f"{name}: ONNX Runtime cannot load it: {reason[0][:200]}") from error


def is_onnx(source: str | Path) -> bool:
    """Whether a source of weights is named like an ONNX file and is not a folder."""
    path = parse_source(source).path
    return path.suffix.lower() == ".onnx" and not path.is_dir()


def onnx_metadata(config: ModelConfig, info: ModelInfo, *, least_frames: int | None = None) -> dict[str, str]:
    """Metadata that describe the model in an ONNX file, for `read_onnx`; for `least_frames` see `OnnxModel`."""
    return {
        _CONFIG: json.dumps(to_dict(StoredConfig.of(config, info))),
        _LABELS: json.dumps(list(info.labels)),
        _LEAST_FRAMES: json.dumps(least_frames),
    }


def read_onnx(path: str | Path) -> OnnxModel:
    """Open an ONNX file that `timesformer export` wrote.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        WeightsError: The file does not exist, is damaged, or was not written by `timesformer export`.
        ConfigError: A value in its metadata has the wrong type or range.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    session = open_session(path)
    metadata = session.get_modelmeta().custom_metadata_map
    config, info = _read_metadata(metadata, path)
    least = _read_least_frames(metadata, path)
    _check_graph(session, config, path, is_dynamic=least is not None)
    return OnnxModel(session, config=config, info=info, path=path, least_frames=least)


def _check_graph(session: Any, config: ModelConfig, path: Path, *, is_dynamic: bool) -> None:
    """Refuse a graph that does not fit the config in the metadata."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    clips = [config.in_channels, "frames" if is_dynamic else config.num_frames, *config.image_size]
    if len(inputs) != 1 or inputs[0].shape[1:] != clips:
        found = ", ".join(str(given.shape) for given in inputs)
        raise WeightsError(
            f"{path}: the graph's input is {found}, the config says [batch, {', '.join(map(str, clips))}]"
        )
    if outputs[0].shape[1:] != [config.num_classes]:
        raise WeightsError(
            f"{path}: the graph's output is {outputs[0].shape}, the config says [batch, {config.num_classes}]"
        )


def _read_metadata(metadata: Mapping[str, str], path: Path) -> tuple[ModelConfig, ModelInfo]:
    if _CONFIG not in metadata or _LABELS not in metadata:
        raise WeightsError(
            f"{path}: was not written by `timesformer export`: its metadata lack the preprocessing of videos"
        )
    values, labels = _json(metadata, _CONFIG, path), _json(metadata, _LABELS, path)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise WeightsError(f"{path}: format_version={version}, this release reads {FORMAT_VERSION}")
    stored = from_dict(values, kind=StoredConfig, source=str(path))
    if not isinstance(labels, list) or not all(map(is_class_name, labels)):
        raise WeightsError(f"{path}: {_LABELS} in its metadata is not a list of names")
    if len(labels) not in (0, stored.model.num_classes):
        raise WeightsError(f"{path}: has {len(labels)} labels, its model has num_classes={stored.model.num_classes}")
    return stored.model, stored.info(labels=tuple(labels))


def _read_least_frames(metadata: Mapping[str, str], path: Path) -> int | None:
    least = _json(metadata, _LEAST_FRAMES, path) if _LEAST_FRAMES in metadata else None
    if least is not None and (type(least) is not int or least < 1):
        raise WeightsError(f"{path}: {_LEAST_FRAMES} in its metadata is not a whole number from 1")
    return least


def _json(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: {key} in its metadata is not JSON: {error}") from error


def opened(model: Classifier | str | Path, overrides: Mapping[str, Any]) -> Classifier:
    """A model as it is, or opened by `open_model`.

    Raises:
        WeightsError, DependencyError: As `open_model`.
        ConfigError: An override is invalid, or one is given for a model.
    """
    if not isinstance(model, Classifier):
        return open_model(model, **overrides)
    if overrides:
        raise ConfigError(f"{', '.join(overrides)}: overrides apply to weights that are loaded, not to a model")
    return model


def open_model(source: str | Path, **overrides: Unpack[ModelOverrides]) -> Classifier:
    """A model for prediction: an ONNX file that `timesformer export` wrote, or anything that `load` accepts.

    Args:
        source: File, folder, hub id or preset; `file#sha256=...` states the hash that the file must have.
        **overrides: Passed to `load`; of an ONNX file, `num_frames` alone can be changed.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: An override is invalid.
        DependencyError: The source is an ONNX file, and ONNX Runtime is not installed.
    """
    if not is_onnx(source):
        return load(source, **overrides)
    fixed = [name for name in overrides if name != "num_frames"]
    if fixed:
        raise ConfigError(f"{', '.join(fixed)}: an ONNX file cannot be changed; change the model and export it again")
    given = parse_source(source)
    if given.sha256 is not None and given.path.is_file():
        check_sha256(given.path, given.sha256, stated_by="sha256")
    model = read_onnx(given.path)
    return model.with_frames(overrides["num_frames"]) if "num_frames" in overrides else model


Encoder = TypeVar("Encoder", bound=nn.Module)


def model_with_features(model: Encoder | OnnxModel) -> Encoder:
    """The model, if it gives features.

    Raises:
        ConfigError: It is an ONNX file, which gives logits alone.
    """
    if isinstance(model, OnnxModel):
        raise ConfigError(
            f"{model.path}: an ONNX file gives the scores of classes, not features: name the model that it was "
            "exported from"
        )
    return model
