"""Models that other projects' formats can express, and their tensors under those projects' names."""

from dataclasses import replace

from torch import Tensor

from timesformer.errors import ConfigError
from timesformer.model.folding import folded_head
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.layouts import Layout


def renamed_tensors(model: TimeSformer, layout: Layout) -> dict[str, Tensor]:
    """Tensors of a model under a layout's names, with `head_norm` folded into the head."""
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head_norm.")}
    tensors["head.weight"], tensors["head.bias"] = folded_head(model)
    names = layout.rename_all(tensors)
    return {names[name]: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def check_expressible(model: TimeSformer, target: str) -> None:
    """Refuse a model that the other code would silently compute differently."""
    config = model.config
    standard = replace(config, cls_in_time=False, position_embedding="space_time")
    per_frame = model.scheme.per_frame and config.position_embedding == "space"
    if config != standard and not (per_frame and config == replace(standard, position_embedding="space")):
        raise ConfigError(
            f"the {target} layout cannot express cls_in_time={config.cls_in_time}, "
            f"position_embedding={config.position_embedding!r}"
        )
    clip = model.info.clip
    if clip.channel_order == "time" or clip.background != "keep":
        raise ConfigError(
            f"the {target} layout supports plain color frames only, not channel_order={clip.channel_order!r}, "
            f"background={clip.background!r}"
        )
    if clip.region == "motion":
        raise ConfigError(f"the {target} layout crops the middle of the frame, which region='motion' does not")
    if len(set(config.image_size)) > 1:
        raise ConfigError(f"the {target} layout supports square images only, not image_size={config.image_size}")
