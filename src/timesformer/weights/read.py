"""Reading a single weights file: the tensor names tell the format, whose reader does the rest."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from timesformer.errors import WeightsError
from timesformer.weights.checkpoint import Checkpoint, StoredFile, first_names
from timesformer.weights.formats.image_vit import read_image_vit
from timesformer.weights.formats.mmaction2 import read_mmaction2
from timesformer.weights.formats.released import read_released
from timesformer.weights.pickles import read_tensors
from timesformer.weights.unwrap import extract_model


def read_file(path: Path, *, num_heads: int | None = None) -> Checkpoint:
    """Read a released `.pyth`, an mmaction2 `.pth`, or an image ViT under timm's names.

    Args:
        path: The file.
        num_heads: Attention heads, which such files do not store; by default one per 64 of `embed_dim`.

    Raises:
        WeightsError: The file is unreadable, or its tensors match no known format.
        ConfigError: The number of heads is unknown.
    """
    content = read_tensors(path)
    found = extract_model(content, origin=str(path))
    siblings = f", next to {first_names(list(found.siblings))}" if found.siblings else ""
    origin = f"{path} ({found.location}{siblings})" if found.location else str(path)
    checkpoint = _explain_file(StoredFile(path, origin, found.location, content), found.tensors, num_heads)
    return replace(checkpoint, location=found.location, others=found.others, foreign=found.foreign)


def _explain_file(file: StoredFile, tensors: Mapping[str, Tensor], num_heads: int | None) -> Checkpoint:
    _refuse_without_config(tensors, file.path)
    if any(name.startswith("backbone.transformer_layers.") for name in tensors):
        return read_mmaction2(tensors, file, num_heads)
    if "patch_embed.proj.weight" not in tensors:
        names = ", ".join(sorted(tensors)[:3])
        raise WeightsError(
            f"{file.origin}: unknown format; its first tensors are {names}. Known: a model folder, a released .pyth, "
            f"a transformers TimeSformer, an mmaction2 TimeSformer, an image ViT under timm's names"
        )
    if "model_state" in file.location.split(".") or "time_embed" in tensors:
        return read_released(tensors, file, num_heads)
    return read_image_vit(tensors, file, num_heads)


def _refuse_without_config(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights whose config is a separate file, and name the folder that has both."""
    ours = "embedding.patch.weight" in tensors
    if not ours and not any(name.startswith("timesformer.embeddings.") for name in tensors):
        return
    folder, run = path.absolute().parent, path.absolute().parent.parent
    if (folder / "config.json").exists():
        cure = f"pass its folder: {folder}"
    elif ours and (run / "config.toml").exists():
        cure = f"pass its run folder: {run}"
    else:
        cure = "pass the folder it came from, which has a config.json"
    what = "this library's" if ours else "transformers'"
    raise WeightsError(f"{path}: holds weights under {what} names, but not their config; {cure}")
