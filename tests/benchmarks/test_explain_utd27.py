"""The pointing game finds the person of the depth video in the patches of the view."""

from pathlib import Path

import numpy as np
import pytest

from explain_utd27 import NULLS, Person, find_person, score, summarize
from explanations import explanation
from videos import write_timed


def _person(tmp_path: Path, *, margin: int = 0) -> Person:
    """A person of 8 x 10 pixels, all of the patch in row 1 and column 2, in every frame but number 5."""
    depth = np.zeros((12, 40, 62, 3), dtype=np.uint8)
    depth[:, 20:28, 30:40] = 150
    depth[5] = 0
    path = write_timed(tmp_path / "depth.mp4", range(0, 480, 40), frames=depth)
    return find_person(explanation(box=(4.0, 10.0, 32.0, 40.0)), path, margin=margin)  # patches of 16 x 10 pixels


def test_patches_are_covered_where_the_person_is(tmp_path: Path):
    expected = np.zeros((3, 2, 4))
    expected[[0, 2], 1, 2] = 0.5
    np.testing.assert_allclose(_person(tmp_path).covered, expected, atol=0.05)  # compressed: the edge may move


@pytest.mark.parametrize(("margin", "columns"), [(3, [2]), (6, [1, 2, 3])])
def test_hits_are_patches_whose_center_is_on_the_widened_person(tmp_path: Path, margin: int, columns: list[int]):
    expected = np.zeros((3, 2, 4), dtype=bool)
    expected[np.ix_([0, 2], [1], columns)] = True
    person = _person(tmp_path, margin=margin)
    np.testing.assert_array_equal(person.on_silhouette, expected)
    np.testing.assert_array_equal(person.in_box, expected)


def test_scores_are_set_against_a_map_that_knows_nothing(tmp_path: Path):
    person = _person(tmp_path, margin=3)
    relevance = np.full((3, 2, 4), 0.5 / 23)
    relevance[2, 1, 2] = 0.5
    hit = score(relevance, person, is_correct=True)
    miss = score(np.roll(relevance, -1, axis=0), person, is_correct=False)  # the frame without a person
    assert (hit.in_box, hit.on_silhouette, miss.in_box, miss.on_silhouette) == (True, True, False, False)
    found = summarize([hit, miss], seconds=3.0)
    assert found["hits_in_box"]["fraction"] == 0.5
    assert found["hits_in_box"]["chance"] == pytest.approx(2 / 24, abs=1e-4)
    assert found["hits_in_box"]["low"] < 0.5 < found["hits_in_box"]["high"]
    assert found["hits_in_box_if_correct"]["clips"] == 1
    assert found["mass_chance"] == pytest.approx(1 / 24, abs=0.005)
    assert found["mass"] == pytest.approx(0.5 * (0.25 + 0.5 / 23) + 0.5 * (0.5 / 23), abs=0.02)
    assert found["seconds_per_clip"] == 1.5


def test_maps_that_know_nothing_of_the_model_have_its_shape():
    pixels = np.zeros((3, 40, 62, 3), dtype=np.uint8)
    pixels[1, 20:36, 30:40] = 200
    item = explanation(pixels=pixels)
    maps = {name: draw(item, 0) for name, draw in NULLS.items()}
    assert {found.shape for found in maps.values()} == {(3, 2, 4)}
    assert all(found.min() >= 0 < found.sum() for found in maps.values())
    assert np.unravel_index(maps["frame difference"].argmax(), (3, 2, 4))[1:] == (1, 2)
