"""The implementations that a user would otherwise take, with the same weights as ours."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.errors import DependencyError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.convert import save_transformers

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


def transformers_logits(module: nn.Module) -> Logits:
    """A function from our clips to the logits of `transformers_module`."""

    def logits(clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
        return module(rearrange(clips, "b c t h w -> b t c h w")).logits

    return logits


def random_weights(model: TimeSformer, *, seed: int = 0) -> TimeSformer:
    """Give a model weights that exercise all of it: released models start with zeros that would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_(center + 0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
