"""`ComputeOptions` as keywords of `Predictor` and `evaluate`."""

from collections.abc import Collection, Mapping
from typing import Any, TypedDict

from timesformer.config.compute import DEFAULTS, EVALUATION_ONLY, ComputeOptions
from timesformer.config.overrides import ModelOverrides
from timesformer.config.schema import OnDecodeError, Precision, PrecisionName
from timesformer.data.video.codecs import allowed_codecs
from timesformer.device import resolve_device, resolve_precision
from timesformer.errors import ConfigError
from timesformer.inference.onnx_model import Classifier, OnnxModel


class PredictorOptions(TypedDict, total=False):
    """The fields of `ComputeOptions` that `Predictor` accepts as keywords."""

    device: str
    batch_size: int
    fast: bool
    compile: bool
    precision: PrecisionName
    allow_codecs: Collection[str]


class ComputeKeywords(PredictorOptions, total=False):
    """The fields of `ComputeOptions` as keywords."""

    num_workers: int
    on_error: OnDecodeError


class PredictorKeywords(PredictorOptions, ModelOverrides, total=False):
    """The keywords of `Predictor`: options, and fields of `ModelConfig` to change."""


def merge_options(options: ComputeOptions | None, keywords: Mapping[str, Any]) -> ComputeOptions:
    """The options of a call, given as one value or as keywords.

    Raises:
        ConfigError: They are given both ways, a value is out of its range, or a codec is unknown.
        TypeError: A keyword is not a field of `ComputeOptions`.
    """
    if options is not None and keywords:
        raise ConfigError(f"{', '.join(keywords)}: given in addition to options=ComputeOptions(...); set it there")
    merged = ComputeOptions(**keywords) if options is None else options
    allowed_codecs(merged.allow_codecs)
    return merged


def split_keywords(keywords: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Separate keywords of `Predictor` into fields of `ComputeOptions` and fields of `ModelConfig`."""
    compute = {name: value for name, value in keywords.items() if name in DEFAULTS}
    return compute, {name: value for name, value in keywords.items() if name not in DEFAULTS}


def effective_options(
    options: ComputeOptions | None, keywords: Mapping[str, Any], *, on: str, others: Mapping[str, str]
) -> ComputeOptions:
    """As `merge_options`, without options that have no effect.

    Args:
        options: Options as one value.
        keywords: The same as keywords.
        on: What computes, for the message.
        others: Options without effect on it, and what each has an effect on.

    Raises:
        ConfigError: One of `others` is given, or is not at its default.
    """
    merged = merge_options(options, keywords)
    for name, only in others.items():
        if name in keywords or getattr(merged, name) != DEFAULTS[name]:
            raise ConfigError(f"{name}={getattr(merged, name)!r} has no effect on {on}, only on {only}")
    return merged


def predictor_options(options: ComputeOptions | None, keywords: Mapping[str, Any]) -> ComputeOptions:
    """As `merge_options`, for `Predictor`.

    Raises:
        ConfigError: One has no effect on a predictor.
    """
    return effective_options(options, keywords, on="a Predictor", others=dict.fromkeys(EVALUATION_ONLY, "evaluate"))


def precision_of(options: ComputeOptions, model: Classifier) -> Precision:
    """The precision that a model computes in: that of the options, where `auto` is what the device computes faster.

    For an ONNX file, which computes as it was exported and takes clips in fp32, `auto` is `fp32`.

    Raises:
        ConfigError: The device does not exist.
    """
    if options.precision == "auto" and isinstance(model, OnnxModel):
        return "fp32"
    return resolve_precision(options.precision, resolve_device(options.device))


def refuse_for_onnx(options: ComputeOptions) -> None:
    """Refuse options that cannot apply to an ONNX file.

    Raises:
        ConfigError: One is not at its default.
    """
    given = {
        "fast=False": not options.fast,
        "compile=True": options.compile,
        f"precision={options.precision!r}": options.precision not in ("auto", "fp32"),
        f"device={options.device!r}": options.device not in ("auto", "cpu"),
    }
    for name, is_given in given.items():
        if is_given:
            raise ConfigError(f"{name} has no effect on an ONNX file, which runs on the CPU as it was exported")
