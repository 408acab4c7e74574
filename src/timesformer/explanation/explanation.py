"""`Explanation`: the relevance of each patch and frame of one view, and where the view lies in the video."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from timesformer.files import replacing
from timesformer.outputs import refuse_existing, writing

_ROUNDING = 1e-6
"""Tolerance of a sum of float32 numbers that is compared with one half."""

Method = Literal["contribution", "class", "rollout", "occlusion"]
"""Contribution to the logit of a class, rollout of attention times its gradient, attention rollout (no class in
particular), or occlusion of tubelets."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """Relevance of each patch of one view of a video.

    One view is explained: the first clip and its center crop.
    """

    path: str
    """Path of the video; empty for frames in memory."""
    method: Method
    target: int | None
    """Index of the explained class; None for `rollout`, which explains no class in particular."""
    label: str
    """Name of the explained class, or of the predicted class for `rollout`."""
    probability: float
    """Probability of that class for the view."""
    map: Float32[np.ndarray, "t h w"]
    """Relevance of each patch in each frame of the view, 0 or more; it sums to 1."""
    cls_fraction: float | None
    """Fraction of the relevance that stays in the class token; None for `contribution` and `occlusion`, which have
    none. For `class` it depends on the scale of the logits: compare it between clips of one model only."""
    frames: Int64[np.ndarray, " t"]
    """Number of each frame of the view in the video, counted from 0."""
    seconds: Float64[np.ndarray, " t"]
    """Presentation time of each frame of the view, in seconds from the first frame of the video."""
    box: tuple[float, float, float, float]
    """Top, left, height and width of the view's crop in the upright frames of the video, in their pixels."""
    pixels: UInt8[np.ndarray, "t height width 3"]
    """The whole upright frames of the view, RGB, in their original size."""

    @property
    def curve(self) -> Float32[np.ndarray, " t"]:
        """Relevance of each frame of the view; it sums to 1."""
        return self.map.sum(axis=(1, 2))

    @property
    def name(self) -> str:
        """Stem of the video's name, for output files; `frames` for frames in memory."""
        return Path(self.path).stem if self.path else "frames"

    @property
    def peak(self) -> tuple[int, int]:
        """First and last frame of the view, counted from 0, of the shortest run that holds half of the relevance."""
        total = np.concatenate([[0.0], self.curve.astype(np.float64).cumsum()])
        for length in range(1, len(total)):
            sums = total[length:] - total[:-length]
            if sums.max() >= 0.5 - _ROUNDING:
                break
        first = int(sums.argmax())
        return first, first + length - 1

    def to_dict(self) -> dict[str, Any]:
        """Everything but `map` and `pixels` as plain numbers, strings and lists, ready for JSON."""
        first, last = self.peak
        return {
            "path": self.path,
            "method": self.method,
            "target": self.target,
            "label": self.label,
            "probability": self.probability,
            "cls_fraction": self.cls_fraction,
            "grid": list(self.map.shape),
            "curve": self.curve.tolist(),
            "frames": self.frames.tolist(),
            "seconds": self.seconds.tolist(),
            "box": list(self.box),
            "peak_frames": [int(self.frames[first]), int(self.frames[last])],
            "peak_seconds": [float(self.seconds[first]), float(self.seconds[last])],
        }

    def save_npz(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the numbers of the explanation, without pixels, to a file for `numpy.load`.

        Arrays: `map` float32 `[t, h, w]`, `curve` float32 `[t]`, `frames` int64 `[t]`, `seconds` float64 `[t]`, `box`
        float64 `[4]`, and as scalars `method`, `target` (-1 for `rollout`), `label`, `probability`, `cls_fraction` (nan
        for `contribution` and `occlusion`) and `path`.

        Args:
            path: The file, usually `.npz`.
            overwrite: Replace an existing file.

        Returns:
            The path.

        Raises:
            ConfigError: The file exists and `overwrite` is False.
            TimeSformerError: The file cannot be written.
        """
        path = Path(path)
        refuse_existing(path, overwrite=overwrite)
        with writing(path), replacing(path) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                map=self.map,
                curve=self.curve,
                frames=self.frames,
                seconds=self.seconds,
                box=np.array(self.box),
                method=self.method,
                target=-1 if self.target is None else self.target,
                label=self.label,
                probability=self.probability,
                cls_fraction=np.nan if self.cls_fraction is None else self.cls_fraction,
                path=self.path,
            )
        return path
