"""Other projects' names for our parameters, as data.

A layout maps our parameter names to another project's. In templates `{i}` is the block, `{p}` is `weight` or `bias`,
and `{main}` is the attention step that an image ViT has too.

Source: parameter lists of the released checkpoints, `transformers` 5 and mmaction2 1.2; timm's names for image ViTs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from timesformer.config.schema import SchemeName, Stages
from timesformer.errors import ConfigError
from timesformer.model.schemes import SCHEMES

_RELEASED = {
    "embedding.cls_token": "cls_token",
    "embedding.position": "pos_embed",
    "embedding.time": "time_embed",
    "embedding.patch.{p}": "patch_embed.proj.{p}",
    "blocks.{i}.steps.time.norm.{p}": "blocks.{i}.temporal_norm1.{p}",
    "blocks.{i}.steps.time.attention.qkv.{p}": "blocks.{i}.temporal_attn.qkv.{p}",
    "blocks.{i}.steps.time.attention.proj.{p}": "blocks.{i}.temporal_attn.proj.{p}",
    "blocks.{i}.steps.time.fc.{p}": "blocks.{i}.temporal_fc.{p}",
    "blocks.{i}.steps.{main}.norm.{p}": "blocks.{i}.norm1.{p}",
    "blocks.{i}.steps.{main}.attention.qkv.{p}": "blocks.{i}.attn.qkv.{p}",
    "blocks.{i}.steps.{main}.attention.proj.{p}": "blocks.{i}.attn.proj.{p}",
    "blocks.{i}.mlp_norm.{p}": "blocks.{i}.norm2.{p}",
    "blocks.{i}.mlp.fc1.{p}": "blocks.{i}.mlp.fc1.{p}",
    "blocks.{i}.mlp.fc2.{p}": "blocks.{i}.mlp.fc2.{p}",
    "norm.{p}": "norm.{p}",
    "head.{p}": "head.{p}",
}

_TRANSFORMERS = {
    "embedding.cls_token": "timesformer.embeddings.cls_token",
    "embedding.position": "timesformer.embeddings.position_embeddings",
    "embedding.time": "timesformer.embeddings.time_embeddings",
    "embedding.patch.{p}": "timesformer.embeddings.patch_embeddings.projection.{p}",
    "blocks.{i}.steps.time.norm.{p}": "timesformer.encoder.layer.{i}.temporal_layernorm.{p}",
    "blocks.{i}.steps.time.attention.qkv.{p}": "timesformer.encoder.layer.{i}.temporal_attention.attention.qkv.{p}",
    "blocks.{i}.steps.time.attention.proj.{p}": "timesformer.encoder.layer.{i}.temporal_attention.output.dense.{p}",
    "blocks.{i}.steps.time.fc.{p}": "timesformer.encoder.layer.{i}.temporal_dense.{p}",
    "blocks.{i}.steps.{main}.norm.{p}": "timesformer.encoder.layer.{i}.layernorm_before.{p}",
    "blocks.{i}.steps.{main}.attention.qkv.{p}": "timesformer.encoder.layer.{i}.attention.attention.qkv.{p}",
    "blocks.{i}.steps.{main}.attention.proj.{p}": "timesformer.encoder.layer.{i}.attention.output.dense.{p}",
    "blocks.{i}.mlp_norm.{p}": "timesformer.encoder.layer.{i}.layernorm_after.{p}",
    "blocks.{i}.mlp.fc1.{p}": "timesformer.encoder.layer.{i}.intermediate.dense.{p}",
    "blocks.{i}.mlp.fc2.{p}": "timesformer.encoder.layer.{i}.output.dense.{p}",
    "norm.{p}": "timesformer.layernorm.{p}",
    "head.{p}": "classifier.{p}",
}

_MM_LAYER = "backbone.transformer_layers.layers.{i}"
_MMACTION2_SHARED = {
    "embedding.cls_token": "backbone.cls_token",
    "embedding.position": "backbone.pos_embed",
    "embedding.time": "backbone.time_embed",
    "embedding.patch.{p}": "backbone.patch_embed.projection.{p}",
    "blocks.{i}.mlp.fc1.{p}": _MM_LAYER + ".ffns.0.layers.0.0.{p}",
    "blocks.{i}.mlp.fc2.{p}": _MM_LAYER + ".ffns.0.layers.1.{p}",
    "norm.{p}": "backbone.norm.{p}",
    "head.{p}": "cls_head.fc_cls.{p}",
}
_MMACTION2_DIVIDED = _MMACTION2_SHARED | {
    "blocks.{i}.steps.time.norm.{p}": _MM_LAYER + ".attentions.0.norm.{p}",
    "blocks.{i}.steps.time.attention.qkv.{p}": _MM_LAYER + ".attentions.0.attn.in_proj_{p}",
    "blocks.{i}.steps.time.attention.proj.{p}": _MM_LAYER + ".attentions.0.attn.out_proj.{p}",
    "blocks.{i}.steps.time.fc.{p}": _MM_LAYER + ".attentions.0.temporal_fc.{p}",
    "blocks.{i}.steps.{main}.norm.{p}": _MM_LAYER + ".attentions.1.norm.{p}",
    "blocks.{i}.steps.{main}.attention.qkv.{p}": _MM_LAYER + ".attentions.1.attn.in_proj_{p}",
    "blocks.{i}.steps.{main}.attention.proj.{p}": _MM_LAYER + ".attentions.1.attn.out_proj.{p}",
    "blocks.{i}.mlp_norm.{p}": _MM_LAYER + ".ffns.0.norm.{p}",
}
_MMACTION2_ONE_STEP = _MMACTION2_SHARED | {
    "blocks.{i}.steps.{main}.norm.{p}": _MM_LAYER + ".norms.0.{p}",
    "blocks.{i}.steps.{main}.attention.qkv.{p}": _MM_LAYER + ".attentions.0.attn.in_proj_{p}",
    "blocks.{i}.steps.{main}.attention.proj.{p}": _MM_LAYER + ".attentions.0.attn.out_proj.{p}",
    "blocks.{i}.mlp_norm.{p}": _MM_LAYER + ".norms.1.{p}",
}

RELEASED_SCHEMES = ("space_only", "joint_space_time", "divided_space_time")
"""Schemes that the other projects have."""


@dataclass(frozen=True)
class Layout:
    """Another project's names for the parameters of one scheme."""

    name: str
    templates: Mapping[str, str]

    def rename_all(self, names: Iterable[str]) -> dict[str, str]:
        """Map our parameter names to this layout's.

        Raises:
            ConfigError: This layout has no name for one of them.
        """
        return {name: self._rename(name) for name in names}

    def _rename(self, name: str) -> str:
        block = re.match(r"blocks\.(\d+)\.", name)
        index = block[1] if block else ""
        stem, _, leaf = name.rpartition(".")
        template = name.replace(f"blocks.{index}.", "blocks.{i}.", 1) if block else name
        if template in self.templates:
            return self.templates[template].format(i=index)
        stem = stem.replace(f"blocks.{index}.", "blocks.{i}.", 1) if block else stem
        if f"{stem}.{{p}}" not in self.templates:
            raise ConfigError(f"the {self.name} layout has no name for {name}")
        return self.templates[f"{stem}.{{p}}"].format(i=index, p=leaf)


def layout_for(name: str, scheme: SchemeName | Stages) -> Layout:
    """The names of `released`, `image ViT`, `transformers` or `mmaction2` for a scheme's parameters.

    Raises:
        ConfigError: That project does not have the scheme.
    """
    if scheme not in RELEASED_SCHEMES:
        allowed = ", ".join(RELEASED_SCHEMES)
        raise ConfigError(f"the {name} layout has no scheme={scheme!r}; it has {allowed}")
    mmaction2 = _MMACTION2_DIVIDED if scheme == "divided_space_time" else _MMACTION2_ONE_STEP
    templates = {
        "released": _RELEASED,
        "image ViT": _RELEASED,  # the released model took timm's names
        "transformers": _TRANSFORMERS,
        "mmaction2": mmaction2,
    }[name]
    main = SCHEMES[scheme].image_step
    return Layout(name, {ours.replace("{main}", main): theirs for ours, theirs in templates.items()})
