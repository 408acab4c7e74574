"""`explain`: which patches and frames of a video a model's answer rests on.

One view is explained: the first clip of the model's test sampling, and its center crop. A prediction may rest on more.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Unpack, cast

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from timesformer.config.checks import check_choice, check_count, refuse
from timesformer.config.compute import EVALUATION_ONLY, ComputeOptions
from timesformer.config.info import ModelInfo
from timesformer.data.clips.center_view import CenterView, read_center_view
from timesformer.data.clips.dataset import warn_of_timing
from timesformer.data.clips.transforms import to_floats
from timesformer.device import resolve_device
from timesformer.errors import ConfigError, did_you_mean
from timesformer.explanation.explanation import Explanation, Method
from timesformer.explanation.occlusion import occlusion
from timesformer.inference.fusion import check_finite
from timesformer.inference.onnx_model import OnnxModel, is_onnx, opened
from timesformer.inference.options import PredictorKeywords, effective_options, split_keywords
from timesformer.inference.predictor import Predictor
from timesformer.inference.videos import Video, source_of
from timesformer.model.contribution import contribution
from timesformer.model.rollout import Residual, check_steps, class_rollout, rollout
from timesformer.model.timesformer import TimeSformer
from timesformer.names import compose

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
"""Called with the number of forward passes done and their total."""

_OPTIONS_WITHOUT_EFFECT = dict.fromkeys(EVALUATION_ONLY, "evaluate")
_OPTIONS_OF_OCCLUSION = dict.fromkeys(("batch_size", "fast", "compile", "precision"), "method='occlusion'")
"""The other methods take one clip through the model block by block, in fp32."""
_MEMORY = "frames in memory"


def explain(
    model: TimeSformer | str | Path,
    video: Video,
    *,
    method: Method = "contribution",
    target: int | str | None = None,
    steps: Collection[str] = (),
    residual: Residual | None = None,
    fps: float | None = None,
    on_progress: OnProgress = lambda done, total: None,
    options: ComputeOptions | None = None,
    **keywords: Unpack[PredictorKeywords],
) -> Explanation:
    """Explain the answer of a model to one view of a video: its first clip and center crop.

    Args:
        model: A model, which stays unchanged, or anything that `load` accepts; not an ONNX file.
        video: A file, a folder of frames, a video in a tar file, or frames in memory: upright RGB, uint8
            `[t, h, w, 3]`.
        method: `contribution` splits the logit of a class into contributions of the patches, of which the positive
            ones count. `class` multiplies attention by its gradient for one class. `rollout` multiplies attention
            alone, and explains no class in particular. `occlusion` hides parts of the clip and measures how far the
            probability of the class drops, in up to 400 forward passes or one per patch of a frame.
        target: The class to explain, by index or by name; the most probable one by default. Not for `rollout`.
        steps: Names of the attention steps to follow, such as `["space"]`; all of them by default. Not for `occlusion`.
        residual: For `rollout`: weight of each attention step against its residual connection. `half` by default;
            `norm` weighs both by their norms for each token.
        fps: Frame rate of frames in memory; 30 by default.
        on_progress: Called as the work proceeds.
        options: How to compute. `device` and `allow_codecs` have an effect on every method; `batch_size`, `fast`,
            `compile` and `precision` on `occlusion` alone.
        **keywords: Fields of `ComputeOptions` instead of `options`, and fields of `ModelConfig` for `load`.

    Returns:
        The map sums to 1 over the clip. If no patch is relevant it is uniform, with a warning.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: The class or a step is unknown, or an argument has no effect on the method.
        DecodeError: The file cannot be decoded as a video.
        DataError: Frames in memory have the wrong shape or type.
        TimeSformerError: The model outputs nan or inf.
    """
    explainer = Explainer(model, method=method, steps=steps, residual=residual, options=options, **keywords)
    return explainer(video, target=target, fps=fps, on_progress=on_progress)


class Explainer:
    """Explains videos with one model: see `explain`, whose arguments it shares."""

    @torch.inference_mode(False)
    def __init__(
        self,
        model: TimeSformer | str | Path,
        *,
        method: Method = "contribution",
        steps: Collection[str] = (),
        residual: Residual | None = None,
        options: ComputeOptions | None = None,
        **keywords: Unpack[PredictorKeywords],
    ) -> None:
        _check_arguments(method, steps, residual)
        compute, overrides = split_keywords(keywords)
        others = _OPTIONS_WITHOUT_EFFECT | ({} if method == "occlusion" else _OPTIONS_OF_OCCLUSION)
        options = effective_options(options, compute, on=f"method={method!r}", others=others)
        loaded = _load(model, overrides)
        if method != "occlusion":
            check_steps(steps, loaded.scheme)
        self.method: Method = method
        self.config, self.info = loaded.config, loaded.info
        self._steps, self._residual = steps, residual or "half"
        self._allow_codecs = options.allow_codecs
        self._batch_size = options.batch_size
        self._device = resolve_device(options.device)
        self._predictor = Predictor(loaded, options=options) if method == "occlusion" else None
        self._model = None if self._predictor else deepcopy(loaded).eval().requires_grad_(False).to(self._device)

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(
        self,
        video: Video,
        *,
        target: int | str | None = None,
        fps: float | None = None,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Explanation:
        """Explain one video; for arguments and errors see `explain`."""
        find_target(target, self.info, num_classes=self.config.num_classes, method=self.method)
        path = str(video) if isinstance(video, str | Path) else ""
        source = source_of(video, fps=fps)
        view = read_center_view(source, self.config, self.info.clip, allow_codecs=self._allow_codecs)
        return self.explain_view(view, path=path, target=target, on_progress=on_progress)

    @torch.inference_mode(False)
    @torch.no_grad()
    def explain_view(
        self,
        view: CenterView,
        *,
        path: str = "",
        target: int | str | None = None,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Explanation:
        """Explain a view that was read; for arguments and errors see `explain`.

        Args:
            view: The view, as `timesformer.data.clips.center_view.read_center_view` reads it.
            path: The video, for messages and the result.
            target: See `explain`.
            on_progress: See `explain`.
        """
        wanted = find_target(target, self.info, num_classes=self.config.num_classes, method=self.method)
        warn_of_timing(path or _MEMORY, view.info, self.info.clip)
        clip = to_floats(view.view[None], self.info.clip).to(self._device)
        logits = self._logits(clip)
        check_finite(logits, path or _MEMORY)
        shown = int(logits.argmax()) if wanted is None else wanted
        patches, cls = self._relevance(clip, shown, on_progress=on_progress)
        relevance, cls_fraction = _normalized(patches, cls, path=path, label=self.info.label(shown))
        return Explanation(
            path=path,
            method=self.method,
            target=None if self.method == "rollout" else shown,
            label=self.info.label(shown),
            probability=float(logits.softmax(dim=-1)[0, shown]),
            map=relevance,
            cls_fraction=cls_fraction,
            frames=view.frames,
            seconds=view.seconds,
            box=view.box,
            pixels=view.pixels,
        )

    def _logits(self, clips: Float[Tensor, "b 3 t s1 s2"]) -> Float[Tensor, "b k"]:
        return self._model(clips).cpu() if self._model else cast(Predictor, self._predictor).logits(clips)

    def _relevance(
        self, clip: Float[Tensor, "1 3 t s1 s2"], target: int, *, on_progress: OnProgress
    ) -> tuple[Float[Tensor, "t h w"], float | None]:
        """Relevance of patches and, for rollouts, of the class token."""
        if self._model is None:
            size, batch = self.config.patch_size, self._batch_size
            found = occlusion(
                self._logits, clip[0], target=target, patch_size=size, batch_size=batch, on_progress=on_progress
            )
            return found, None
        if self.method == "contribution":
            found = contribution(self._model, clip, target=target, steps=self._steps)[0].relu().cpu()
            on_progress(1, 1)
            return found, None
        if self.method == "rollout":
            relevance = rollout(self._model, clip, residual=self._residual, steps=self._steps)
        else:
            relevance = class_rollout(self._model, clip, target=target, steps=self._steps)
        on_progress(1, 1)
        return relevance.patches[0].cpu(), float(relevance.cls[0])


def find_target(target: int | str | None, info: ModelInfo, *, num_classes: int, method: Method) -> int | None:
    """Index of the class to explain; None if the most probable one is.

    Raises:
        ConfigError: The class is unknown, or the method explains none in particular.
    """
    if target is None:
        return None
    if method == "rollout":
        raise ConfigError(f"target={target!r} has no effect on method='rollout', which explains no class in particular")
    if not isinstance(target, str):
        check_count("target", target, least=0)
        refuse(
            target >= num_classes,
            f"target={target} must be at most {num_classes - 1}: the model has {num_classes} classes",
        )
        return int(target)
    names = [compose(label) for label in info.labels]
    if compose(target) in names:
        return names.index(compose(target))
    if not names:
        raise ConfigError(f"target={target!r}: the model has no class names; give an index from 0 to {num_classes - 1}")
    hint = did_you_mean(target, names) or f"; its classes start with {names[:5]}"
    raise ConfigError(f"the model has no class {target!r}{hint}")


def _check_arguments(method: Method, steps: Collection[str], residual: Residual | None) -> None:
    """Refuse arguments that have no effect on the method.

    Raises:
        ConfigError: One is given, or `method` or `residual` is unknown.
    """
    check_choice("method", method, Method)
    if residual is not None:
        check_choice("residual", residual, Residual)
        refuse(
            method != "rollout", f"residual={residual!r} has no effect on method={method!r}, only on method='rollout'"
        )
    refuse(
        bool(steps) and method == "occlusion",
        f"steps={steps!r} has no effect on method='occlusion', which does not look into the model",
    )


def _load(model: TimeSformer | str | Path, overrides: Mapping[str, Any]) -> TimeSformer:
    """The model to explain.

    Raises:
        ConfigError: It is an ONNX file, it does not read RGB clips, or overrides are given for a model.
    """
    if isinstance(model, OnnxModel) or (isinstance(model, str | Path) and is_onnx(model)):
        name = model.path if isinstance(model, OnnxModel) else model
        raise ConfigError(
            f"{name}: an ONNX file cannot be explained, because its attention is not accessible; name the run or model "
            f"folder that it was exported from"
        )
    return cast(TimeSformer, opened(model, overrides))


def _normalized(
    patches: Float[Tensor, "t h w"], cls: float | None, *, path: str, label: str
) -> tuple[Float32[np.ndarray, "t h w"], float | None]:
    """The map, which sums to 1, and the fraction of the relevance that stays in the class token."""
    relevance = patches.double().numpy()
    total = float(relevance.sum())
    if not total > 0:
        logger.warning("%s: no patch is relevant for %r; the map is uniform", path or _MEMORY, label)
        relevance, total = np.ones_like(relevance), float(relevance.size)
        cls_fraction = None if cls is None else 1.0
    else:
        cls_fraction = None if cls is None else cls / (cls + total)
    return (relevance / total).astype(np.float32), cls_fraction
