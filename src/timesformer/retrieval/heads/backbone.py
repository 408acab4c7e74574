"""The model that computed the features, with a trained head: an ordinary model."""

from dataclasses import replace

import torch

from timesformer.config.io import from_dict, to_dict
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError
from timesformer.inference.weights_hash import weights_sha256
from timesformer.model.timesformer import TimeSformer
from timesformer.retrieval.heads.folder import StoredHead
from timesformer.retrieval.heads.rows import Rows
from timesformer.weights.load import load


def load_backbone(source: str, rows: Rows) -> TimeSformer:
    """Load the model that computed features, with the clips and the changes of its config that it computed them with.

    Args:
        source: Anything that `timesformer.load` accepts.
        rows: Rows with the features.

    Raises:
        WeightsError: The model cannot be loaded.
        ConfigError: The features do not say that they are those of this model at level `cls`.
    """
    origin, settings = rows.origin, rows.settings
    if origin.level != "cls" or not origin.model_sha256:
        raise ConfigError(
            f"model={source!r}: the features are {origin.describe()}; a model folder needs those that "
            "`timesformer embed --level cls` wrote with this model"
        )
    model = load(source)
    own, stated = to_dict(model.config), settings.get("model", {})
    changes = {name: value for name, value in stated.items() if own.get(name) != value}
    if changes:
        model = load(source, **changes)
    found = weights_sha256(model)
    if found != origin.model_sha256:
        raise ConfigError(
            f"model={source!r} has the weights {found[:12]}, the features are {origin.describe()}: name the model that "
            "computed them"
        )
    if "clip" in settings:
        clip = from_dict(settings["clip"], kind=ClipConfig, source=f"{rows.source}, its settings")
        model.info = replace(model.info, clip=clip)
    return model


@torch.no_grad()
def with_head(model: TimeSformer, stored: StoredHead, *, clip_seconds: float | None = None) -> TimeSformer:
    """The model with a trained linear head in place of its own; without normalization before it, which it contains.

    Stored features are the mean over the views of a video, so the views' logits are averaged too.

    Args:
        model: The model.
        stored: The head, linear.
        clip_seconds: Median length of the segments that it was trained on; None if unknown.
    """
    config = replace(model.config, num_classes=len(stored.class_names), head_norm="none", head_dropout=0.0)
    clip = replace(model.info.clip, fusion="logits")
    source = f"linear head on features of {model.info.source or 'a model'}"
    info = replace(
        model.info,
        clip=clip,
        labels=stored.class_names,
        thresholds=None,
        clip_seconds=clip_seconds,
        source=source,
    )
    headed = TimeSformer(config, info=info, scheme=model.scheme)
    state = {
        name: tensor for name, tensor in model.state_dict().items() if not name.startswith(("head.", "head_norm."))
    }
    state |= {"head.weight": stored.head.tensors["weight"], "head.bias": stored.head.tensors["bias"]}
    headed.load_state_dict(state)
    return headed.eval()
