"""From pixels to tokens: patches, and where each one is in space and time."""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig, check_image_size
from timesformer.errors import ConfigError
from timesformer.model.interpolation import resize
from timesformer.model.schemes import Grid


class Embedding(nn.Module):
    """Patches projected to tokens, with the class token and learned embeddings of position and time.

    `position` has a row for the class token first; `time` has none, as released. Both are resized to the input.

    Args:
        config: The model's configuration.
        has_time: Whether a sequence of tokens spans several frames; without a time embedding otherwise.

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
            ConfigError: The clips have another number of channels, or sides that patches do not tile.
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
        cls, trained, mode = self.cls_token, self.config.grid, self.config.position_interpolation
        if hasattr(self, "position"):
            cls = cls + self.position[:, :1]
            patches = patches + resize(self.position[:, 1:], old=trained[1:], new=grid[1:], mode=mode)[:, None]
        if hasattr(self, "time"):
            patches = patches + resize(self.time, old=trained[:1], new=grid[:1], mode=mode)[:, :, None]
        tokens = torch.cat([cls.expand(batch, -1, -1), rearrange(patches, "b t n d -> b (t n) d")], dim=1)
        return self.dropout(tokens), grid


def fold_frames(tokens: Float[Tensor, "b n d"], grid: Grid) -> tuple[Float[Tensor, "bt m d"], Grid]:
    """Make each frame a separate sequence, with a copy of the class token."""
    cls = repeat(tokens[:, :1], "b 1 d -> (b t) 1 d", t=grid.t)
    patches = rearrange(tokens[:, 1:], "b (t n) d -> (b t) n d", t=grid.t)
    return torch.cat([cls, patches], dim=1), Grid(1, grid.h, grid.w)
