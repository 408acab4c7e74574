"""Planted evidence: the mask is where the marked object is, its color is the class, and nothing else tells it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.data.synthetic.planted import PLANTED_CLASSES, PlantedClip, render_planted
from timesformer.errors import ConfigError

COLORS = {"red": (230, 38, 38), "green": (38, 204, 51), "blue": (51, 77, 242), "yellow": (230, 217, 38)}


def grown(mask: np.ndarray) -> np.ndarray:
    """A mask `[t, h, w]` with two more pixels on every side, which hold its soft edge."""
    padded = np.pad(mask, ((0, 0), (2, 2), (2, 2)))
    height, width = mask.shape[1:]
    return np.any([padded[:, r : r + height, c : c + width] for r in range(5) for c in range(5)], axis=0)


def colors_in(clip: PlantedClip) -> set[str]:
    """Names of the colors that the pixels of the evidence have, its core and edge left out."""
    pixels = clip.frames[clip.mask].astype(float)
    distances = {name: np.abs(pixels - color).max(axis=1) for name, color in COLORS.items()}
    return {name for name, distance in distances.items() if (distance < 45).mean() > 0.2}


@given(st.sampled_from(["where", "when"]), st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_evidence_has_the_color_of_the_class_and_a_white_core(evidence: str, seed: int):
    clip = render_planted(evidence, seed=seed, num_frames=5, size=40, radius=5.0)
    assert colors_in(clip) == {PLANTED_CLASSES[clip.label]}
    assert (clip.frames[clip.mask].min(axis=1) > 250).mean() > 0.1
    assert clip.mask.any(axis=(1, 2)).nonzero()[0].tolist() == clip.deciding_frames.tolist()


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_without_distractors_nothing_changes_outside_the_evidence(seed: int):
    clip = render_planted("where", seed=seed, num_frames=4, size=40, num_distractors=0)
    frames = np.ma.masked_array(clip.frames, np.repeat(grown(clip.mask)[..., None], 3, axis=-1))
    assert (frames.max(axis=0) == frames.min(axis=0)).all()
    areas = clip.mask.sum(axis=(1, 2))
    assert areas.min() > 30  # wholly inside the frame: an area of 50 (disc) or 41 (square)
    assert areas.max() < 60


def test_an_event_takes_two_frames_at_any_time():
    clips = [render_planted("when", seed=seed, num_frames=5, size=16) for seed in range(60)]
    assert {tuple(clip.deciding_frames.tolist()) for clip in clips} == {(0, 1), (1, 2), (2, 3), (3, 4)}


def test_outside_its_event_an_object_is_gray():
    clip = render_planted("when", seed=3, num_frames=6, size=40, num_distractors=0, radius=6.0)
    shown, other = clip.deciding_frames[0], (clip.deciding_frames[0] + 3) % 6
    assert other not in clip.deciding_frames
    background = np.median(clip.frames, axis=0)
    changed = np.abs(clip.frames[other] - background).max(axis=-1) > 40
    assert (np.ptp(clip.frames[other][changed].astype(int), axis=-1) < 60).mean() > 0.8
    assert (np.ptp(clip.frames[shown][clip.mask[shown]].astype(int), axis=-1) > 100).mean() > 0.5


def test_distractors_do_not_tell_the_class():
    clips = [render_planted("where", seed=seed, num_frames=2, size=16, num_distractors=2) for seed in range(600)]
    labels = np.array([clip.label for clip in clips])
    assert np.bincount(labels).min() > 110  # 150 expected, standard deviation 10.6
    for distractor in np.stack([clip.distractor_labels for clip in clips], axis=1):
        # of 600 clips 150 agree by chance, standard deviation 10.6
        assert abs(int((distractor == labels).sum()) - 150) < 43


def test_equal_seeds_give_equal_clips():
    first, second, other = (render_planted("when", seed=seed, num_frames=4, size=24) for seed in (5, 5, 6))
    assert (first.frames == second.frames).all()
    assert first.label == second.label
    assert (first.frames != other.frames).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evidence": "why"}, "evidence='why' is not one of 'where', 'when'"),
        ({"num_frames": 1}, "num_frames=1 must be at least 2"),
        ({"num_frames": 2}, "num_frames=2 must be more than the 2 frames of an event"),
        ({"size": 0}, "size=0 must be at least 1 pixel"),
        ({"num_distractors": -1}, "num_distractors=-1 must be 0 or more"),
        ({"radius": 0}, "radius=0 must be above 0 and at most half of size=64"),
        ({"radius": 33}, "radius=33 must be above 0 and at most half of size=64"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes: dict, message: str):
    evidence = changes.pop("evidence", "when")
    with pytest.raises(ConfigError, match=message):
        render_planted(evidence, seed=0, **changes)
