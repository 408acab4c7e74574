"""Features of the views of videos, computed once: each video has a file that is found by all that they depend on."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float32

from timesformer.errors import DecodeError
from timesformer.files import replacing
from timesformer.fine_tuning.views import Pieces, Views
from timesformer.inference.fusion import check_finite
from timesformer.inference.predictor import Predictor
from timesformer.inference.read_ahead import num_readers, read_ahead
from timesformer.outputs import writing

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of a video."""

    views: Float32[np.ndarray, "views d"]
    """What the head of the model reads of each view."""
    seconds: float
    """Time that they took."""


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """A folder with a file for the features of each video."""

    folder: Path

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.folder / f"{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()[:40]}.npz"

    def get(self, key: str) -> Features | None:
        """The features of a key; None if they are not there, or their file is damaged."""
        path = self.path(key)
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                views, seconds = stored["views"], float(stored["seconds"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            logger.warning("%s: is damaged: its features are computed again", path)
            return None
        return Features(views, seconds)

    def put(self, key: str, features: Features) -> None:
        """Store features, all or nothing.

        Raises:
            TimeSformerError: The disk refused.
        """
        path = self.path(key)
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial, open(partial, "wb") as file:
                np.savez(file, views=features.views, seconds=features.seconds)

    def prune(self, keys: Iterable[str]) -> None:
        """Remove the files of all other keys, and what a killed process left."""
        kept = {self.path(key).name for key in keys}
        with writing(self.folder):
            for path in (*self.folder.glob("*.npz"), *self.folder.glob(".*.npz.*.part")):
                if path.name not in kept:
                    path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Setting:
    """What features depend on besides their video and its views."""

    weights_sha256: str
    model: dict
    precision: str

    def key(self, views: Views) -> str:
        """The key of the features of a video."""
        return json.dumps(
            {"weights": self.weights_sha256, "model": self.model, "precision": self.precision, **views.key()}
        )


def compute_features(
    predictor: Predictor,
    videos: Sequence[Views],
    *,
    setting: Setting,
    cache: FeatureCache,
    on_error: Callable[[DecodeError], None],
    on_progress: OnProgress = lambda done, total: None,
) -> list[Features | DecodeError]:
    """The features of videos, those that are not cached computed and stored one by one.

    Args:
        predictor: The frozen model.
        videos: The views of each video.
        setting: What the features depend on besides.
        cache: The stored features.
        on_error: Called with the error of each video that cannot be decoded; it may raise it.
        on_progress: Progress callback, called after each video with the number done and the total.

    Returns:
        The features of each video, or the error of one that cannot be decoded.

    Raises:
        DecodeError: What `on_error` raises.
        TimeSformerError: The model outputs nan or inf, the disk refused, or memory is too small.
    """
    found: list[Features | DecodeError | None] = [cache.get(setting.key(video)) for video in videos]
    missing = [index for index, features in enumerate(found) if features is None]
    done = len(videos) - len(missing)
    on_progress(done, len(videos))
    num_threads, start = min(num_readers(), max(len(missing), 1)), time.monotonic()
    reading = read_ahead(lambda index: videos[index].read(), missing, num_threads=num_threads, num_ahead=4)
    for index, pieces in zip(missing, reading, strict=True):
        rows = _features(predictor, pieces, name=videos[index].sample.name)
        if isinstance(rows, DecodeError):
            on_error(rows)
            found[index] = rows
        else:
            now = time.monotonic()
            features, start = Features(rows, now - start), now
            cache.put(setting.key(videos[index]), features)
            found[index] = features
        done += 1
        on_progress(done, len(videos))
    return [features for features in found if features is not None]


def _features(
    predictor: Predictor, pieces: Pieces | DecodeError, *, name: str
) -> Float32[np.ndarray, "views d"] | DecodeError:
    if isinstance(pieces, DecodeError):
        return pieces
    try:
        rows = torch.cat([predictor.encode(views).features for views in pieces])
    except DecodeError as error:  # of a later piece
        return error
    check_finite(rows, name)
    return rows.numpy()
