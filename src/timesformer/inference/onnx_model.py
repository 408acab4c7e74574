"""A model in an ONNX file, as `timesformer export` writes it, run by ONNX Runtime on the CPU.

The file holds all that a prediction depends on: beside the graph, its metadata have the config, the clips, the labels
and the license.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.config.class_names import is_class_name
from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict, to_dict
from timesformer.config.overrides import ModelOverrides
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, DependencyError, WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.load import load
from timesformer.weights.model_folder import FORMAT_VERSION, StoredConfig

_CONFIG, _LABELS = "timesformer.config", "timesformer.labels"


class OnnxModel(nn.Module):
    """Stands where a `TimeSformer` is asked for nothing but logits: same config, same info, clips of one size.

    It has no parameters and stays on the CPU.

    Args:
        session: An `onnxruntime.InferenceSession` with one input, the clips, and one output, the logits.
        config: The architecture; clips must have its sizes, and any batch.
        info: Preprocessing, label names and license.
        path: The file of the session, which is opened again where the model is unpickled: a session cannot be pickled.
    """

    def __init__(self, session: Any, *, config: ModelConfig, info: ModelInfo, path: Path) -> None:
        super().__init__()
        self.session = session
        self.path = path
        self.config = config
        self.info = info

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
        """Logits of normalized clips.

        Raises:
            ConfigError: The clips have other sizes than those that the file was exported for.
        """
        config = self.config
        wanted = (config.in_channels, config.num_frames, *config.image_size)
        if tuple(clips.shape[1:]) != wanted:
            raise ConfigError(
                f"clips of shape {tuple(clips.shape)} do not fit: the ONNX file was exported for [batch, "
                f"{', '.join(map(str, wanted))}]; export the model again for other sizes"
            )
        return run_session(self.session, clips)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open, (self.path.absolute(), self.config, self.info)


def _open(path: Path, config: ModelConfig, info: ModelInfo) -> OnnxModel:
    return OnnxModel(open_session(path), config=config, info=info, path=path)


Classifier = TimeSformer | OnnxModel
"""What predicts and is evaluated: it has a config and an info, and gives logits of clips."""


def run_session(session: Any, clips: Float[Tensor, "b c t height width"]) -> Float[Tensor, "b k"]:
    """The first output of a session for its only input."""
    name = session.get_inputs()[0].name
    return torch.from_numpy(session.run(None, {name: clips.detach().cpu().contiguous().numpy()})[0])


def open_session(model: bytes | Path) -> Any:
    """An `onnxruntime.InferenceSession` of a serialized model or a file, with as many threads as torch has.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        WeightsError: It does not take the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "ONNX files are run by onnxruntime, which is not installed: pip install 'timesformer[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only: it warns about constants that it folds
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes, which have no base but this
        name = "the model" if isinstance(model, bytes) else model
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(f"{name}: ONNX Runtime cannot load it: {reason[0][:200]}") from error


def is_onnx(source: str | Path) -> bool:
    """Whether a source of weights is named as an ONNX file; a folder can have any name."""
    path = Path(source).expanduser()
    return path.suffix.lower() == ".onnx" and not path.is_dir()


def onnx_metadata(config: ModelConfig, info: ModelInfo) -> dict[str, str]:
    """What an ONNX file says of the model in it: undone by `read_onnx`."""
    stored = StoredConfig(model=config, clip=info.clip, license=info.license, source=info.source)
    return {_CONFIG: json.dumps(to_dict(stored)), _LABELS: json.dumps(list(info.labels))}


def read_onnx(path: str | Path) -> OnnxModel:
    """Open an ONNX file that `timesformer export` wrote.

    Raises:
        DependencyError: ONNX Runtime is not installed.
        WeightsError: There is no such file, it is damaged, or it is another program's.
        ConfigError: What the file says of itself has a wrong type or range.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    session = open_session(path)
    config, info = _read_metadata(session.get_modelmeta().custom_metadata_map, path)
    _check_graph(session, config, path)
    return OnnxModel(session, config=config, info=info, path=path)


def _check_graph(session: Any, config: ModelConfig, path: Path) -> None:
    """Refuse a graph that is not of the model that the metadata describe."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    clips = [config.in_channels, config.num_frames, *config.image_size]
    if len(inputs) != 1 or inputs[0].shape[1:] != clips:
        found = ", ".join(str(given.shape) for given in inputs)
        raise WeightsError(f"{path}: its graph reads {found}, its config says [batch, {', '.join(map(str, clips))}]")
    if outputs[0].shape[1:] != [config.num_classes]:
        raise WeightsError(f"{path}: its graph gives {outputs[0].shape}, its config says [batch, {config.num_classes}]")


def _read_metadata(metadata: Mapping[str, str], path: Path) -> tuple[ModelConfig, ModelInfo]:
    if _CONFIG not in metadata or _LABELS not in metadata:
        raise WeightsError(
            f"{path}: was not written by `timesformer export`: it does not say how to read videos for it"
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
    return stored.model, ModelInfo(clip=stored.clip, labels=labels, license=stored.license, source=stored.source)


def _json(metadata: Mapping[str, str], key: str, path: Path) -> Any:
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: {key} in its metadata is not JSON: {error}") from error


def open_model(source: str | Path, **overrides: Unpack[ModelOverrides]) -> Classifier:
    """A model for prediction: an ONNX file that `timesformer export` wrote, or anything that `load` takes.

    Args:
        source: The file, folder, hub id or preset.
        **overrides: Passed to `load`; an ONNX file takes none.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: An override cannot work.
        DependencyError: It is an ONNX file, and ONNX Runtime is not installed.
    """
    if not is_onnx(source):
        return load(source, **overrides)
    if overrides:
        raise ConfigError(f"{', '.join(overrides)}: an ONNX file is fixed; change the model, then export it again")
    return read_onnx(source)
