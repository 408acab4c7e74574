"""From pixels to tokens: patches, and where each one is in space and time."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig, check_image_size
from timesformer.errors import ConfigError
from timesformer.model.schemes import Grid


def resize_space(
    embedding: Float[Tensor, "1 n d"], *, old: tuple[int, int], new: tuple[int, int], mode: str
) -> Float[Tensor, "1 m d"]:
    """Fit a position embedding of patches (no class token) to another grid of rows and columns.

    Args:
        embedding: One row for each of `old[0] * old[1]` patches, row by row.
        old: Rows and columns of the embedding.
        new: Rows and columns wanted.
        mode: `bicubic`, or `nearest` as the released code.
    """
    if old == new:
        return embedding
    image = rearrange(embedding, "1 (h w) d -> 1 d h w", h=old[0])
    align_corners = None if mode == "nearest" else False
    image = F.interpolate(image, size=new, mode=mode, align_corners=align_corners)
    return rearrange(image, "1 d h w -> 1 (h w) d")


def resize_time(embedding: Float[Tensor, "1 t d"], *, num_frames: int, mode: str) -> Float[Tensor, "1 s d"]:
    """Fit a time embedding to another number of frames.

    Args:
        embedding: One row a frame.
        num_frames: Number of frames wanted.
        mode: `bicubic` (along time: linear), or `nearest` as the released code.
    """
    if embedding.shape[1] == num_frames:
        return embedding
    line = rearrange(embedding, "1 t d -> 1 d t")
    if mode == "nearest":
        line = F.interpolate(line, size=num_frames, mode="nearest")
    else:
        line = F.interpolate(line, size=num_frames, mode="linear", align_corners=False)
    return rearrange(line, "1 d t -> 1 t d")


class Embedding(nn.Module):
    """Patches projected to tokens, with the class token and the learned embeddings of place and time.

    `position` has the class token's row first; `time` has none for it, as released.

    Args:
        config: The model's configuration.
        has_time: Whether tokens of one clip span frames, so that a time embedding can mean something.

    Source: Bertasius et al. 2021, equation 1 and table 4; released code.
    """

    def __init__(self, config: ModelConfig, *, has_time: bool) -> None:
        super().__init__()
        self.config = config
        frames, rows, columns = config.grid
        self.patch = nn.Conv2d(config.in_channels, config.embed_dim, config.patch_size, stride=config.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.embed_dim))
        if config.position_embedding != "none":
            self.position = nn.Parameter(torch.zeros(1, 1 + rows * columns, config.embed_dim))
        if config.position_embedding == "space_time" and has_time:
            self.time = nn.Parameter(torch.zeros(1, frames, config.embed_dim))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, clips: Float[Tensor, "b c t height width"]) -> tuple[Float[Tensor, "b n d"], Grid]:
        """Tokens of the clips, class token first, and the grid of their patches.

        Raises:
            ConfigError: The clips have other channels, or sides that patches do not tile.
        """
        if clips.shape[1] != self.config.in_channels:
            raise ConfigError(
                f"clips of shape {tuple(clips.shape)} have {clips.shape[1]} channels, the model has "
                f"in_channels={self.config.in_channels}; the order is [batch, channels, frames, height, width]"
            )
        check_image_size((clips.shape[-2], clips.shape[-1]), self.config.patch_size)
        batch, frames = clips.shape[0], clips.shape[2]
        images = self.patch(rearrange(clips, "b c t height width -> (b t) c height width"))
        grid = Grid(frames, *images.shape[-2:])
        patches = rearrange(images, "(b t) d h w -> b t (h w) d", b=batch)
        cls = self.cls_token
        if hasattr(self, "position"):
            cls = cls + self.position[:, :1]
            patches = patches + self._position_for(grid)
        if hasattr(self, "time"):
            patches = patches + self._time_for(grid)
        tokens = torch.cat([cls.expand(batch, -1, -1), rearrange(patches, "b t n d -> b (t n) d")], dim=1)
        return self.dropout(tokens), grid

    def _position_for(self, grid: Grid) -> Float[Tensor, "1 1 n d"]:
        _, rows, columns = self.config.grid
        position = resize_space(
            self.position[:, 1:],
            old=(rows, columns),
            new=(grid.h, grid.w),
            mode=self.config.position_interpolation,
        )
        return rearrange(position, "1 n d -> 1 1 n d")

    def _time_for(self, grid: Grid) -> Float[Tensor, "1 t 1 d"]:
        time = resize_time(self.time, num_frames=grid.t, mode=self.config.position_interpolation)
        return rearrange(time, "1 t d -> 1 t 1 d")


def fold_frames(tokens: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "bt m d"], Grid]:
    """Make each frame a sequence of its own, with a copy of the class token."""
    cls = repeat(tokens[:, :1], "b 1 d -> (b t) 1 d", t=grid.t)
    patches = rearrange(tokens[:, 1:], "b (t n) d -> (b t) n d", t=grid.t)
    return torch.cat([cls, patches], dim=1), Grid(1, grid.h, grid.w)
