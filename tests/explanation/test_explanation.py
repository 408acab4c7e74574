"""`Explanation`: its curve, its peak, and what is written of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.errors import ConfigError, TimeSformerError
from timesformer.explanation.explanation import Explanation


def explanation_of(curve: list[float], **changes: Any) -> Explanation:
    """An explanation of frames of 2 x 3 patches."""
    shares = np.array([1, 0, 2, 3, 0, 4], dtype=np.float64).reshape(2, 3) / 10
    values: dict[str, Any] = {
        "path": "videos/wave 1.mp4",
        "method": "class",
        "target": 1,
        "label": "wave",
        "probability": 0.75,
        "map": (np.array(curve)[:, None, None] / sum(curve) * shares).astype(np.float32),
        "cls_fraction": 0.25,
        "frames": np.arange(len(curve)) * 3,
        "seconds": np.arange(len(curve)) * 0.12,
        "box": (1.5, 2.25, 20.0, 30.0),
        "pixels": np.zeros((len(curve), 24, 36, 3), dtype=np.uint8),
    }
    return Explanation(**values | changes)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any))
def test_the_peak_is_the_shortest_run_of_frames_with_half_of_the_relevance(curve: list[int]):
    first, last = explanation_of([float(value) for value in curve]).peak
    assert 2 * sum(curve[first : last + 1]) >= sum(curve)
    shorter = last - first
    assert all(2 * sum(curve[start : start + shorter]) < sum(curve) for start in range(len(curve)))


def test_the_numbers_are_read_back_from_the_file(tmp_path: Path):
    explanation = explanation_of([1, 3, 2, 2])
    path = explanation.save_npz(tmp_path / "wave.npz")
    with np.load(path) as stored:
        assert set(stored) == {
            "map", "curve", "frames", "seconds", "box",
            "method", "target", "label", "probability", "cls_fraction", "path",
        }  # fmt: skip
        for name in ("map", "curve", "frames", "seconds"):
            np.testing.assert_array_equal(stored[name], getattr(explanation, name))
            assert stored[name].dtype == getattr(explanation, name).dtype
        assert stored["box"].tolist() == list(explanation.box)
        for name in ("method", "target", "label", "probability", "cls_fraction", "path"):
            assert stored[name].item() == getattr(explanation, name)


def test_missing_numbers_are_stored_as_such(tmp_path: Path):
    rollout = explanation_of([1, 3], method="rollout", target=None).save_npz(tmp_path / "rollout.npz")
    occlusion = explanation_of([1, 3], method="occlusion", cls_fraction=None).save_npz(tmp_path / "occlusion.npz")
    assert np.load(rollout)["target"] == -1
    assert np.isnan(np.load(occlusion)["cls_fraction"])


def test_equal_explanations_give_equal_files(tmp_path: Path):
    first, second = (explanation_of([1, 3]).save_npz(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert first.read_bytes() == second.read_bytes()


def test_a_file_is_replaced_on_request_only(tmp_path: Path):
    explanation = explanation_of([1, 3])
    path = explanation.save_npz(tmp_path / "wave.npz")
    with pytest.raises(ConfigError, match=r"wave\.npz: already exists; pass overwrite=True"):
        explanation.save_npz(path)
    explanation_of([3, 1]).save_npz(path, overwrite=True)
    assert np.load(path)["curve"].tolist() == pytest.approx([0.75, 0.25])
    with pytest.raises(TimeSformerError, match=r"no/wave\.npz: cannot be written: No such file or directory"):
        explanation.save_npz(tmp_path / "no" / "wave.npz")


def test_the_json_form_has_everything_but_pixels_and_map():
    content = explanation_of([1, 3, 2, 2]).to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["curve"] == pytest.approx([0.125, 0.375, 0.25, 0.25])
    assert (content["grid"], content["box"]) == ([4, 2, 3], [1.5, 2.25, 20.0, 30.0])
    assert (content["peak_frames"], content["peak_seconds"]) == ([3, 6], pytest.approx([0.12, 0.24]))
    assert {name: content[name] for name in ("path", "method", "target", "label", "probability", "cls_fraction")} == {
        "path": "videos/wave 1.mp4",
        "method": "class",
        "target": 1,
        "label": "wave",
        "probability": 0.75,
        "cls_fraction": 0.25,
    }
