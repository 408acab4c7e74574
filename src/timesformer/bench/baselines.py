"""Other implementations that a user could choose, with the same weights as ours."""

import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, DependencyError
from timesformer.model.timesformer import TimeSformer

Logits = Callable[[Float[Tensor, "b c t h w"]], Float[Tensor, "b k"]]
Attention = Literal["eager", "sdpa"]
"""Implementations of attention in `transformers`."""
OnnxPrecision = Literal["fp32", "int8"]
"""As in `timesformer.export.onnx`, which is imported only to export."""
CompileMode = Literal["default", "reduce-overhead"]


@contextmanager
def requiring_packages(what: str) -> Generator[None]:
    """Report a package that an import inside the block lacks.

    Raises:
        DependencyError: A package is not installed; the message names it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise DependencyError(f"{what} needs {error.name}, which is not installed") from error


def transformers_module(model: TimeSformer, *, attention: Attention = "eager") -> nn.Module:
    """`transformers`' TimeSformer with the weights of `model`, in eval mode; its clips are `[b, t, c, h, w]`.

    Raises:
        DependencyError: `transformers` is not installed, or its TimeSformer has no such attention.
        ConfigError: `transformers` has no such model.
    """
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("transformers is not installed: pip install 'transformers>=5,<6'") from error
    with requiring_packages("the comparison with transformers"):
        from timesformer.weights.formats.transformers import save_transformers
    transformers.logging.disable_progress_bar()
    kind = transformers.TimesformerForVideoClassification
    options: dict[str, Any] = {"num_hidden_layers": 0, "attn_implementation": attention}
    try:  # an empty model, before the weights are written
        kind(transformers.TimesformerConfig(**options))
    except ValueError as error:
        raise DependencyError(
            f"TimeSformer of transformers {transformers.__version__} does not support attn_implementation={attention!r}"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = save_transformers(model, Path(folder) / "baseline")
        return kind.from_pretrained(path, attn_implementation=attention).eval()


def transformers_logits(module: nn.Module) -> nn.Module:
    """A module from our clips to the logits of `transformers_module`."""
    return _TransformersLogits(module)


class _TransformersLogits(nn.Module):
    """Adapts a module of `transformers` to our clip layout and to plain logits, which the exporter needs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
        return self.module(rearrange(clips, "b c t h w -> b t c h w")).logits


def compiled(module: nn.Module, *, mode: CompileMode | None = None) -> nn.Module:
    """The module through `torch.compile`, which compiles at the first call.

    Args:
        module: The module.
        mode: As in `torch.compile`; by default `reduce-overhead` if there is a GPU, which then runs one CUDA graph.

    Raises:
        DependencyError: There is no C++ compiler.
    """
    if not any(map(shutil.which, ("g++", "c++", "clang++"))):
        raise DependencyError("torch.compile needs a C++ compiler, such as g++")
    on_gpu: CompileMode = "reduce-overhead" if torch.cuda.is_available() else "default"
    return cast(nn.Module, torch.compile(module, mode=mode or on_gpu))


def compiled_logits(module: nn.Module, *, mode: CompileMode | None = None) -> nn.Module:
    """`transformers_module` through `torch.compile`, for our clips. For arguments and errors see `compiled`."""
    return transformers_logits(compiled(module, mode=mode))


def by_plain_layers(model: TimeSformer) -> TimeSformer:
    """The model, which from now on trains with its layers one after the other instead of the fused kernels."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda *_: None)  # kernels leave modules with hooks alone
    return model


def onnx_logits(module: nn.Module, clips: Float[Tensor, "b c t h w"], *, precision: OnnxPrecision) -> Logits:
    """A module exported to ONNX and run by ONNX Runtime.

    Args:
        module: A module from our clips to logits, such as that of `transformers_logits`.
        clips: Example clips; the graph accepts any batch size.
        precision: `fp32`, or `int8` for its linear layers, as in `timesformer export`.

    Raises:
        DependencyError: The exporter or ONNX Runtime is not installed.
        TimeSformerError: The exporter cannot express the module.
    """
    with requiring_packages("ONNX Runtime"):
        from timesformer.export.graph import to_int8, trace
        from timesformer.inference.onnx_model import open_session, run_session
    # an example of one clip would fix the batch size at 1
    graph = trace(module.eval(), clips[:1].expand(2, -1, -1, -1, -1).contiguous())
    session = open_session((to_int8(graph) if precision == "int8" else graph).SerializeToString())
    return lambda clips: run_session(session, clips)


def lucidrains_logits(config: ModelConfig) -> Logits:
    """The model of `timesformer-pytorch` at our sizes, with its own random weights: only its speed is comparable.

    Its architecture differs: rotary embeddings, a gated MLP with 1.5 times the weights, no `fc` after attention over
    time, a class token that attends to the whole clip. Weights cannot be converted.

    Raises:
        DependencyError: The package is not installed.
        ConfigError: The scheme is not `divided_space_time`, or the frames are not square.
    """
    try:
        package = import_module("timesformer_pytorch")
    except ImportError as error:
        raise DependencyError("timesformer-pytorch is not installed: pip install timesformer-pytorch") from error
    if config.scheme != "divided_space_time" or len(set(config.image_size)) > 1:
        raise ConfigError(
            f"timesformer-pytorch has only scheme='divided_space_time' and square frames, not "
            f"scheme={config.scheme!r}, image_size={config.image_size}"
        )
    module = package.TimeSformer(
        dim=config.embed_dim,
        image_size=config.image_size[0],
        patch_size=config.patch_size,
        num_frames=config.num_frames,
        num_classes=config.num_classes,
        channels=config.in_channels,
        depth=config.depth,
        heads=config.num_heads,
        dim_head=config.embed_dim // config.num_heads,
    ).eval()
    return _FramesFirst(module)


class _FramesFirst(nn.Module):
    """Adapts a module that expects `[b, t, c, h, w]` to our clip layout."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
        return self.module(rearrange(clips, "b c t h w -> b t c h w"))


def random_weights(model: TimeSformer, *, seed: int = 0) -> TimeSformer:
    """Draw random weights for all of the model: the zeros of the released initialization would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(center + 0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
