"""The implementations that a user would otherwise take, with the same weights as ours."""

import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, DependencyError
from timesformer.export.graph import to_int8, trace
from timesformer.export.onnx import OnnxPrecision
from timesformer.inference.onnx_model import open_session, run_session
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.formats.transformers import save_transformers

Logits = Callable[[Float[Tensor, "b c t h w"]], Float[Tensor, "b k"]]


def transformers_module(model: TimeSformer) -> nn.Module:
    """`transformers`' TimeSformer with the weights of `model`, in eval mode; clips are `[b, t, c, h, w]` there.

    Raises:
        DependencyError: `transformers` is not installed.
        ConfigError: `transformers` has no such model.
    """
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("transformers is not installed: pip install 'transformers>=5,<6'") from error
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        path = save_transformers(model, Path(folder) / "peer")
        return transformers.TimesformerForVideoClassification.from_pretrained(path).eval()


def transformers_logits(module: nn.Module) -> nn.Module:
    """A function from our clips to the logits of `transformers_module`."""
    return _OurClips(module)


class _OurClips(nn.Module):
    """A module of `transformers` that takes our clips and gives logits alone, as the exporter wants it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
        return self.module(rearrange(clips, "b c t h w -> b t c h w")).logits


def compiled(module: nn.Module) -> nn.Module:
    """A module through `torch.compile`, which compiles at the first call; on a GPU as one graph.

    Raises:
        DependencyError: There is no C++ compiler.
    """
    if not any(map(shutil.which, ("g++", "c++", "clang++"))):
        raise DependencyError("torch.compile needs a C++ compiler, such as g++")
    mode = "reduce-overhead" if torch.cuda.is_available() else "default"
    return cast(nn.Module, torch.compile(module, mode=mode))


def compiled_logits(module: nn.Module) -> Logits:
    """`transformers_module` through `torch.compile`.

    Raises:
        DependencyError: There is no C++ compiler.
    """
    return transformers_logits(compiled(module))


def onnx_logits(module: nn.Module, clips: Float[Tensor, "b c t h w"], *, precision: OnnxPrecision) -> Logits:
    """A module exported to ONNX, and run by ONNX Runtime.

    Args:
        module: The module, from our clips to logits, such as `transformers_logits` gives.
        clips: An example of our clips; any batch goes through afterward.
        precision: `fp32`, or `int8` for its linear maps, as `timesformer export` does it.

    Raises:
        DependencyError: The exporter or ONNX Runtime is not installed.
        TimeSformerError: The exporter cannot express the module.
    """
    # an example of one clip would make a graph for one clip
    graph = trace(module.eval(), clips[:1].expand(2, -1, -1, -1, -1).contiguous())
    session = open_session((to_int8(graph) if precision == "int8" else graph).SerializeToString())
    return lambda clips: run_session(session, clips)


def lucidrains_logits(config: ModelConfig) -> Logits:
    """The model of the package `timesformer-pytorch` at our sizes, with its own random weights: for time alone.

    It is another architecture: rotary embeddings, a gated MLP with half as many weights again, no `fc` after the
    attention over time, the class token attends to the whole clip. No weights move between it and ours.

    Raises:
        DependencyError: The package is not installed.
        ConfigError: It has no such scheme, or frames that are not square.
    """
    try:
        package = import_module("timesformer_pytorch")
    except ImportError as error:
        raise DependencyError("timesformer-pytorch is not installed: pip install timesformer-pytorch") from error
    if config.scheme != "divided_space_time" or len(set(config.image_size)) > 1:
        raise ConfigError(
            f"timesformer-pytorch has scheme='divided_space_time' and square frames only, not "
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
    """A module that takes `[b, t, c, h, w]`, for our clips."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
        return self.module(rearrange(clips, "b c t h w -> b t c h w"))


def random_weights(model: TimeSformer, *, seed: int = 0) -> TimeSformer:
    """Give a model weights that exercise all of it: released models start with zeros that would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(center + 0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
