"""The views of a video for the probe: random clips of a training video, all views of a validation video."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from jaxtyping import UInt8
from torch import Tensor

from timesformer.config.augment import AugmentConfig
from timesformer.config.io import to_dict
from timesformer.config.run import RunConfig
from timesformer.data.clips.dataset import TrainClips
from timesformer.data.clips.pieces import FirstPieces
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.file_stat import video_stamp
from timesformer.errors import DecodeError

Pieces = Iterable[UInt8[Tensor, "views 3 t s1 s2"]]
"""The views of a video, a part at a time."""

_DRAWN_BY = ("scale_range", "crop_jitter", "flip")
"""Settings of the data that training clips depend on."""


@dataclass(frozen=True, slots=True)
class Views:
    """The views of a video, before they are read.

    Training views are `run.probe_views` random clips: position, scale, mirroring and moment are drawn as in training,
    from the seed of the run and the name of the file. Other augmentation is not applied. Validation views are those of
    `evaluate`.
    """

    run: RunConfig
    sample: Sample
    kind: Literal["training", "validation"]

    def key(self) -> dict[str, Any]:
        """What the views depend on."""
        sample, run = self.sample, self.run
        video = [os.path.abspath(sample.path), video_stamp(sample.path), sample.segment]
        drawn = {name: getattr(run.data, name) for name in _DRAWN_BY}
        drawn |= {"jitter": run.augment.temporal_jitter, "views": run.probe_views, "seed": run.seed}
        return {"video": video, "clip": to_dict(run.clip), **({"drawn": drawn} if self.kind == "training" else {})}

    def read(self) -> Pieces | DecodeError:
        """Read the views, or the first ones of a long video, or give the error of a video that cannot be decoded."""
        try:
            return [self._training()] if self.kind == "training" else self._validation()
        except DecodeError as error:
            return DecodeError(str(error))  # a new one, whose traceback keeps no frames

    @property
    def _alone(self) -> Manifest:
        """A manifest of this video."""
        names = tuple(f"class {index}" for index in range(self.sample.label + 1))
        return Manifest((self.sample,), names)

    def _training(self) -> UInt8[Tensor, "views 3 t s1 s2"]:
        run, sample = self.run, self.sample
        identity = f"{run.seed} {sample.path.name} {sample.segment}".encode("utf-8", "surrogateescape")
        clips = TrainClips(
            self._alone,
            model=run.model,
            clip=run.clip,
            data=replace(run.data, cache=False),
            seed=int.from_bytes(hashlib.sha256(identity).digest()[:8], "little"),
            augment=AugmentConfig(repeats=run.probe_views, temporal_jitter=run.augment.temporal_jitter),
        )
        return clips[0][0]

    def _validation(self) -> Pieces:
        run = self.run
        pieces = FirstPieces(self._alone, model=run.model, clip=run.clip, allow_codecs=run.data.allow_codecs)
        first = pieces[0]

        def later() -> Iterator[UInt8[Tensor, "views 3 t s1 s2"]]:
            yield first.views
            for number in range(1, first.count):
                yield pieces.read(0, number=number).views

        return later()
