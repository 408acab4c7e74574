"""A torch module as an ONNX graph, in fp32 and in int8."""

import logging
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

from timesformer.errors import ConfigError, DependencyError, TimeSformerError

_LARGEST_BYTES = 2**31 - 2**20  # a protobuf message ends at 2 GiB; what is not weights is far below a MiB
_TALKATIVE = ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer._constant_folding")


def trace(module: nn.Module, clips: Float[Tensor, "b c t height width"]) -> Any:
    """The graph of a module in eval mode, from `clips` to `logits`, for any batch and the other sizes of `clips`.

    Args:
        module: Any module from clips to logits.
        clips: An example, of two clips or more.

    Returns:
        An `onnx.ModelProto` with all weights inside.

    Raises:
        DependencyError: The exporter is not installed.
        ConfigError: The weights are more than one ONNX file can hold.
        TimeSformerError: The exporter cannot express the module.
    """
    _check_installed()
    size = sum(tensor.nbytes for tensor in module.state_dict().values())
    if size > _LARGEST_BYTES:
        raise ConfigError(f"the weights are {size / 2**30:.1f} GiB, and one ONNX file holds 2 GiB")
    batch = torch.export.Dim("batch")
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module,
                (clips,),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                input_names=["clips"],
                output_names=["logits"],
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise TimeSformerError(f"the ONNX exporter cannot express this model: {str(error).splitlines()[0]}") from error
    assert program is not None  # it is with dynamo
    return program.model_proto


def to_int8(graph: Any) -> Any:
    """The graph with the weights of its linear maps in int8, a scale for each output, and activations in uint8.

    Activations get the scale of each tensor as it comes (dynamic quantization), so no videos are needed. The head and
    the patches stay in fp32; they are a hundredth of the work. Weights use 7 of the 8 bits: processors without VNNI add
    products in pairs of 16 bits, which 8 would overflow silently.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata, load_model_with_shape_infer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        add_pre_process_metadata(graph)  # else it advises on a log to do what torch's exporter did
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
    """Silence what the exporter says of itself: operators of torchvision, constants left as they are, old calls."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
        for name in _TALKATIVE:
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.ERROR)
        yield
