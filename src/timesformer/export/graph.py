"""A torch module as a program of `torch.export` and as an ONNX graph, in fp32 and int8."""

import logging
import re
import tempfile
import warnings
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from timesformer.errors import ConfigError, DependencyError, TimeSformerError

_LARGEST_BYTES = 2**31 - 2**20  # protobuf messages are limited to 2 GiB; all but the weights is far below a MiB
_NOISY_LOGGERS = ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer._constant_folding")


def trace(module: nn.Module, clips: Float[Tensor, "b c t height width"], *, least_frames: int | None = None) -> Any:
    """ONNX graph of a module in eval mode, from `clips` to `logits`, for any batch size.

    Args:
        module: A module from clips to logits.
        clips: Example input of at least two clips; the graph is for frames of their size.
        least_frames: Smallest number of frames that the graph shall accept, or None for the number in `clips` alone.

    Returns:
        An `onnx.ModelProto` that includes the weights.

    Raises:
        DependencyError: The exporter is not installed.
        ConfigError: The weights exceed the limit of one ONNX file.
        TimeSformerError: The exporter cannot express the module.
    """
    _check_installed()
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > _LARGEST_BYTES:
        raise ConfigError(f"the weights are {size / 2**30:.1f} GiB; one ONNX file holds at most 2 GiB")
    traced = trace_program(module, clips, least_frames=least_frames)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                traced, dynamo=True, input_names=["clips"], output_names=["logits"], verbose=False
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise TimeSformerError(f"the ONNX exporter cannot express this model: {str(error).splitlines()[0]}") from error
    assert program is not None  # guaranteed by dynamo=True
    return _with_named_sizes(program.model_proto)


def trace_program(
    module: nn.Module, clips: Float[Tensor, "b c t height width"], *, least_frames: int | None
) -> torch.export.ExportedProgram:
    """Program of `torch.export` of a module in eval mode; for the arguments see `trace`.

    Raises:
        TimeSformerError: The module cannot be traced.
    """
    sizes = {0: torch.export.Dim("batch", min=1)}
    if least_frames is not None:
        sizes[2] = torch.export.Dim("frames", min=least_frames)
    try:
        with torch.no_grad(), _quiet():
            return torch.export.export(
                module,
                (clips,),
                dynamic_shapes=(sizes,),
                strict=False,
                # else it must prove, and cannot, that a strided slice is never as long as the whole
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except (TorchDynamoException, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise TimeSformerError(f"torch.export cannot express this model: {reason}") from error


def _with_named_sizes(graph: Any) -> Any:
    """The graph with the free sizes of its tensors in terms of `batch` and `frames`."""
    given = graph.graph.input[0].type.tensor_type.shape.dim
    names = {given[axis].dim_param: name for axis, name in ((0, "batch"), (2, "frames")) if given[axis].dim_param}
    for tensor in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        for size in tensor.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda match: names.get(match[0], match[0]), size.dim_param)
    return graph


def to_int8(graph: Any) -> Any:
    """Quantize the linear layers of a graph: int8 weights with one scale per output, uint8 activations.

    Activations are scaled per tensor at run time (dynamic quantization), so no videos are needed. The head and the
    patch embedding stay in fp32; they are a hundredth of the work. Weights use 7 of the 8 bits: processors without
    VNNI sum pairs of products in 16 bits, which 8-bit weights would overflow silently.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata, load_model_with_shape_infer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        add_pre_process_metadata(graph)  # else it logs advice to do what torch's exporter already did
        quantize_dynamic(
            graph,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return load_model_with_shape_infer(path)


def _check_installed() -> None:
    try:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            import_module(name)
    except ImportError as error:
        raise DependencyError(f"{error.name} is not installed: pip install 'timesformer[export]'") from error


@contextmanager
def _quiet() -> Generator[None]:
    """Silence exporter messages about itself: torchvision operators, unfolded constants, deprecated calls."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
        for name in _NOISY_LOGGERS:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        yield
