"""Features of clips, of their frames and of their patches, together with the logits, in one pass."""

from typing import Literal, NamedTuple, cast

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from timesformer.model.block import Block
from timesformer.model.fast import FastTimeSformer, FrameLayout
from timesformer.model.schemes import Grid
from timesformer.model.timesformer import TimeSformer, embed

Level = Literal["cls", "frame", "patch"]
"""What is encoded: a clip, each of its frames, or each patch of each frame."""


class Encoded(NamedTuple):
    """What one pass gives for clips."""

    features: Float[Tensor, "b ..."]
    """After the last norm: `[b, d]` of clips, `[b, t, d]` of frames, or `[b, t, h, w, d]` of patches."""
    token: Float[Tensor, "b d"]
    """What the head reads; at level `cls`, the features."""
    logits: Float[Tensor, "b k"]


def encode(
    model: TimeSformer | FastTimeSformer, clips: Float[Tensor, "b c t height width"], level: Level = "cls"
) -> Encoded:
    """Features and logits of clips.

    At level `cls`, the features are those of `TimeSformer.features`, at no cost. The other levels compute the last
    block for all tokens. The features of a frame are those of its class token if the scheme computes each frame by
    itself (`space_only`), otherwise the mean over its patches, as the clip has one class token.

    Args:
        model: The model.
        clips: Normalized clips, as for `TimeSformer.features`.
        level: What to encode.
    """
    if level == "cls":
        token = model.features(clips)
        return Encoded(token, token, model.classify(token))
    cls, patches = _tokens(model, clips)
    token = model.norm(cls.mean(dim=1))
    logits = model.classify(token)
    if level == "patch":
        return Encoded(model.norm(patches), token, logits)
    frames = model.norm(cls) if model.scheme.per_frame else model.norm(patches).mean(dim=(2, 3))
    return Encoded(frames, token, logits)


def _tokens(
    model: TimeSformer | FastTimeSformer, clips: Float[Tensor, "b c t height width"]
) -> tuple[Float[Tensor, "b f d"], Float[Tensor, "b t h w d"]]:
    """Class tokens, one for each frame or one in all, and patches after the last block, before the last norm."""
    blocks = [cast(Block, block) for block in model.blocks]
    if isinstance(model, FastTimeSformer) and FrameLayout.fits(model.scheme):
        x, grid = FrameLayout.embed(model.embedding, clips)
        for block in blocks:
            x = FrameLayout(block).all_tokens(x, grid)
        return rearrange(x[:1, :, 0], "1 b d -> b 1 d"), _unfolded(rearrange(x[:, :, 1:], "t b n d -> b (t n) d"), grid)
    x, grid, num_frames = embed(clips, embedding=model.embedding, per_frame=model.scheme.per_frame)
    for block in blocks:
        x = block(x, grid)
    cls = rearrange(x[:, 0], "(b f) d -> b f d", f=num_frames)
    patches = rearrange(x[:, 1:], "(b f) n d -> b (f n) d", f=num_frames)
    return cls, _unfolded(patches, Grid(grid.t * num_frames, grid.h, grid.w))


def _unfolded(patches: Float[Tensor, "b p d"], grid: Grid) -> Float[Tensor, "b t h w d"]:
    return rearrange(patches, "b (t h w) d -> b t h w d", **grid._asdict())


def features_shape(model: TimeSformer | FastTimeSformer, level: Level) -> tuple[int, ...]:
    """Shape of the features of one clip of the size in the config."""
    frames, rows, columns = model.config.grid
    shapes = {"cls": (), "frame": (frames,), "patch": (frames, rows, columns)}
    return (*shapes[level], model.config.embed_dim)
