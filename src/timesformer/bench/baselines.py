"""Other implementations that a user could choose, with the same weights as ours."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from einops import rearrange
from jaxtyping import Float, UInt8
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
    """`transformers`' TimeSformer with the weights of `model`, in eval mode; its clips are `[b, t, c, h, w]`.

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
        path = save_transformers(model, Path(folder) / "baseline")
        return transformers.TimesformerForVideoClassification.from_pretrained(path).eval()


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


def compiled(module: nn.Module) -> nn.Module:
    """The module through `torch.compile`, which compiles at the first call; on a GPU as one graph.

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
    """A module exported to ONNX and run by ONNX Runtime.

    Args:
        module: A module from our clips to logits, such as that of `transformers_logits`.
        clips: Example clips; the graph accepts any batch size.
        precision: `fp32`, or `int8` for its linear layers, as in `timesformer export`.

    Raises:
        DependencyError: The exporter or ONNX Runtime is not installed.
        TimeSformerError: The exporter cannot express the module.
    """
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


def read_whole_video(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    """Decode every frame of a file, stack all pictures and select those of `indices`, as in the released code."""
    return torch.from_numpy(np.stack([to_rgb(frame) for frame in decode_on_one_thread(path)]))[list(indices)]


def decode_on_one_thread(path: Path) -> Iterator[VideoFrame]:
    """Every frame of a video file, from first to last."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count, stream.thread_type = 1, "NONE"
        yield from container.decode(stream)


def to_rgb(frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """The picture of a frame, 0 to 255."""
    # a pool of the scaler left behind would hang a forked worker
    return frame.reformat(format="rgb24", threads=1).to_ndarray()


def random_weights(model: TimeSformer, *, seed: int = 0) -> TimeSformer:
    """Draw random weights for all of the model: the zeros of the released initialization would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(center + 0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
