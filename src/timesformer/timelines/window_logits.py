"""Logits of windows. If frames meet only after the last block, a frame that windows share is computed once.

That is the case with `space_only`, whose blocks see one frame at a time: the class token of each frame is kept, and a
window averages those of its frames. In all other schemes frames are mixed in the first block, so that nothing of a
frame but its pixels is the same in two windows.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.data.clips.transforms import model_input
from timesformer.inference.predictor import Predictor
from timesformer.model.block import Block
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import class_token
from timesformer.timelines.frame_views import clip_views
from timesformer.timelines.reading import ReadWindow

WindowLogits = Callable[[Sequence[ReadWindow]], Float[Tensor, "windows crops k"]]
"""Computes the logits of windows, in order; called with all windows, some at a time."""


def logits_of_windows(predictor: Predictor) -> WindowLogits:
    """The way to compute windows that does the least work and is exact, up to rounding."""
    model = predictor.model
    # background and region are those of a window; compiled models are compiled as a whole
    is_shared = (model.info.clip.background, model.info.clip.region) == ("keep", "frame")
    if isinstance(model, FastTimeSformer) and model.scheme.per_frame and is_shared:
        return SharedFrames(predictor, model)

    def compute(windows: Sequence[ReadWindow]) -> Float[Tensor, "windows crops k"]:
        clip = predictor.model.info.clip
        clips = [clip_views([each.views[number] for number in each.window.frames], clip) for each in windows]
        return rearrange(predictor.logits(torch.cat(clips)), "(w crops) k -> w crops k", w=len(windows))

    return compute


class SharedFrames:
    """Computes windows from class tokens of frames, each computed once.

    A frame of the model's clip is one frame of the video, or three whose brightness makes its channels.
    """

    def __init__(self, predictor: Predictor, model: FastTimeSformer) -> None:
        self._predictor = predictor
        self._model = model
        self._tokens: dict[tuple[int, ...], Float[Tensor, "crops d"]] = {}
        self.num_computed = 0
        """Number of frames that went through the blocks."""

    @torch.inference_mode()
    def __call__(self, windows: Sequence[ReadWindow]) -> Float[Tensor, "windows crops k"]:
        """The logits of windows, on the CPU."""
        keys = [self._keys(each) for each in windows]
        views = {
            key: clip_views([each.views[number] for number in key], self._model.info.clip)
            for each, own in zip(windows, keys, strict=True)
            for key in own
            if key not in self._tokens
        }
        self._compute(views)
        tokens = torch.stack([torch.stack([self._tokens[key] for key in own]).mean(dim=0) for own in keys])
        oldest = keys[-1][0]  # later windows start no earlier
        self._tokens = {key: token for key, token in self._tokens.items() if key >= oldest}
        return self._model.head(self._model.norm(tokens)).float().cpu()

    def _keys(self, window: ReadWindow) -> list[tuple[int, ...]]:
        group, frames = self._model.info.clip.frames_per_channel_group, window.window.frames
        return [frames[i : i + group] for i in range(0, len(frames), group)]

    def _compute(self, views: dict[tuple[int, ...], UInt8[Tensor, "crops 3 1 s1 s2"]]) -> None:
        if not views:
            return
        num_crops = len(next(iter(views.values())))
        frames = torch.cat([*views.values()])
        most = self._predictor.batch_size * self._model.config.num_frames
        tokens = torch.cat([self._token(batch) for batch in frames.split(most)])
        self._tokens.update(zip(views, rearrange(tokens, "(f crops) d -> f crops d", crops=num_crops), strict=True))
        self.num_computed += len(views)

    def _token(self, frames: UInt8[Tensor, "b 3 1 s1 s2"]) -> Float[Tensor, "b d"]:
        values = model_input(frames.to(self._predictor.device), self._model.info.clip).to(self._predictor.dtype)
        *blocks, last = cast(list[Block], list(self._model.blocks))
        return class_token(values, embedding=self._model.embedding, per_frame=True, blocks=[*blocks, last.cls])
