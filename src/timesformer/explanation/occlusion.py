"""Occlusion: how much the probability of a class drops when a part of the clip is hidden. It needs logits alone.

A tubelet is one patch position through some frames. Each is replaced in turn by the mean color of the clip, and the
clip is classified again. Other methods, which look inside the model, are measured against this one.

Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 2.2.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.config.checks import check_count

MOST_TUBELETS = 400
"""Limit of tubelets by default, if there are fewer patches in a frame: 392 for 8 frames of 14 x 14 patches."""


class Tubelet(NamedTuple):
    """One patch position, counted in patches, through consecutive frames."""

    first: int
    end: int
    row: int
    column: int


def occlusion(
    logits: Callable[[Tensor], Tensor],
    clip: Float[Tensor, "c t height width"],
    *,
    target: int,
    patch_size: int,
    tubelet: int | None = None,
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float[Tensor, "t h w"]:
    """Drop of the log probability of a class when each tubelet is hidden.

    Args:
        logits: Maps normalized clips `[b, c, t, height, width]` to logits `[b, k]`.
        clip: A normalized clip.
        target: Index of the class.
        patch_size: Side of a patch in pixels.
        tubelet: Frames per tubelet; None takes the fewest with which there are at most `MOST_TUBELETS` tubelets, or all
            frames. Tubelets differ by one frame if their number does not divide the clip's.
        batch_size: Clips per call of `logits`.
        on_progress: Called after each call with the number of tubelets done and their total.

    Returns:
        Relevance of each patch, not negative: the drop of its tubelet, or 0 if the probability rises, divided by the
        tubelet's frames.

    Raises:
        ConfigError: `tubelet` is not a whole number from 1.
    """
    if tubelet is not None:
        check_count("tubelet", tubelet)
    _, num_frames, height, width = clip.shape
    grid = num_frames, height // patch_size, width // patch_size
    tubelets = list(find_tubelets(grid, tubelet=tubelet))
    color = clip.mean(dim=(1, 2, 3), keepdim=True)
    whole = logits(clip[None]).log_softmax(dim=-1)[0, target]
    relevance = torch.zeros(grid)
    for start in range(0, len(tubelets), batch_size):
        batch = tubelets[start : start + batch_size]
        hidden = torch.stack([_hide(clip, each, color, patch_size=patch_size) for each in batch])
        drops = whole - logits(hidden).log_softmax(dim=-1)[:, target]
        for each, drop in zip(batch, drops.clamp(min=0).tolist(), strict=True):
            relevance[each.first : each.end, each.row, each.column] = drop / (each.end - each.first)
        on_progress(start + len(batch), len(tubelets))
    return relevance


def find_tubelets(grid: tuple[int, int, int], *, tubelet: int | None = None) -> Iterator[Tubelet]:
    """Tubelets of a grid of frames, rows and columns; every patch is in exactly one. See `occlusion`."""
    num_frames, rows, columns = grid
    most = max(1, MOST_TUBELETS // (rows * columns)) if tubelet is None else -(-num_frames // tubelet)
    count = min(num_frames, most)
    bounds = [num_frames * i // count for i in range(count + 1)]
    for i, row, column in product(range(count), range(rows), range(columns)):
        yield Tubelet(bounds[i], bounds[i + 1], row, column)


def _hide(
    clip: Float[Tensor, "c t height width"], tubelet: Tubelet, color: Float[Tensor, "c 1 1 1"], *, patch_size: int
) -> Float[Tensor, "c t height width"]:
    """A copy of a clip with a tubelet in one color."""
    hidden = clip.clone()
    top, left = tubelet.row * patch_size, tubelet.column * patch_size
    hidden[:, tubelet.first : tubelet.end, top : top + patch_size, left : left + patch_size] = color
    return hidden
