"""Which names are one, which look alike, and how a message shows the difference."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.errors import closest, did_you_mean
from timesformer.names import are_alike, as_stored, compose, quoted, tell_apart

NFC, NFD = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Wave", "wave"),
        ("0", "O"),
        ("1", "l"),
        ("I", "l"),
        ("take 1", "take I"),
        (NFC, NFD),
        ("push up", "push_up"),
        ("push-up", "PushUp"),
        ("push  up", "push up"),
        ("push\u00a0up", "push up"),
        (" wave", "wave"),
        ("wave\u200b", "wave"),
        ("w\u0430ve", "wave"),
        ("don\u2019t", "don't"),
        ("'wave'", "wave"),
        ("take 01", "take 1"),
        ("\uff37ave", "wave"),
    ],
)
def test_names_that_a_reader_takes_for_one_are_alike(name, other):
    assert are_alike(name, other)
    assert are_alike(other, name)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("fail", "fall"),
        ("FAIL", "FALL"),
        ("walk", "walking"),
        ("1-1", "11"),
        ("2 1", "21"),
        ("1", "10"),
        ("push left", "push right"),
        ("Café", "Cafe"),
        ("sit", "slt"),
    ],
)
def test_names_that_differ_on_paper_are_not_alike(name, other):
    assert not are_alike(name, other)


@given(name=st.text(max_size=8), other=st.text(max_size=8))
def test_two_names_never_read_the_same_in_a_message(name, other):
    shown = tell_apart(name, other)
    assert (shown[0] == shown[1]) == (name == other)


def test_names_that_print_alike_are_shown_by_their_code_points():
    assert tell_apart(NFC, NFD) == (r"'Caf\xe9'", r"'Cafe\u0301'")
    assert tell_apart("wave", "w\u0430ve") == ("'wave'", r"'w\u0430ve'")
    assert tell_apart("Café", "Cafes") == ("'Café'", "'Cafes'")
    assert quoted([NFC, "wave", NFD]) == [r"'Caf\xe9'", "'wave'", r"'Cafe\u0301'"]


def test_a_suggestion_that_prints_alike_shows_the_difference():
    assert did_you_mean("w\u0430ve", ["clap", "wave"]) == "; did you mean 'wave'?"
    assert did_you_mean(NFC, [NFD]) == r"; did you mean 'Cafe\u0301'?"


def test_a_name_that_looks_alike_is_nearer_than_one_with_more_letters_in_common():
    assert closest("O", ["o clock", "0"]) == "0"
    assert closest("", ["x"]) is None


def test_a_path_is_found_in_the_form_of_its_accents_on_the_disk(tmp_path):
    (tmp_path / NFD).mkdir()
    assert as_stored(tmp_path / NFC) == tmp_path / NFD
    assert as_stored(tmp_path / "h\u00e9") == tmp_path / "h\u00e9"
    assert compose(NFD) == NFC
