"""Many items in several child processes."""

import threading
from pathlib import Path

import pytest

from timesformer.errors import ConfigError, ProcessError
from timesformer.isolation.limits import Limits
from timesformer.isolation.pool import map_apart


@pytest.fixture(autouse=True)
def _targets(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def mapped(items, *, num_children, **options):
    results = list(map_apart("targets:ready_for_items", items, num_children=num_children, **options))
    assert sorted(item for item, _ in results) == sorted(items)
    return {item: str(value) for item, value in results}


@pytest.mark.parametrize("num_children", [1, 2, 30])
@pytest.mark.parametrize("num_items", [0, 1, 7, 150])
def test_each_item_has_its_value(num_children, num_items):
    items = [f"a{number}" for number in range(num_items)]
    assert mapped(items, num_children=num_children) == {item: item.upper() for item in items}


@pytest.mark.parametrize("num_children", [1, 3])
def test_a_death_costs_its_item_only(num_children):
    items = [f"a{number}" for number in range(60)]
    for position in (0, 1, 20, 59):
        items.insert(position, "crash")
    results = list(map_apart("targets:ready_for_items", items, num_children=num_children))
    assert len(results) == 64
    assert {(item, str(value)) for item, value in results} == {
        ("crash", "crashed (SIGSEGV)"),
        *((f"a{number}", f"A{number}") for number in range(60)),
    }


def test_a_hang_costs_its_item_only():
    found = mapped(["a", "hang", "b"], num_children=1, limits=Limits(call_s=0.5))
    assert found == {"a": "A", "b": "B", "hang": "gave no result for 0.5 s"}


def test_an_error_of_the_function_or_the_target_is_raised():
    with pytest.raises(FileNotFoundError, match=r"a\.txt"):
        list(map_apart("targets:ready_for_items", ["a", "raise_os_error", "b"], num_children=1))
    with pytest.raises(ConfigError, match="refused"):
        list(map_apart("targets:ready", ["a"], setup=("refuse",), num_children=1))


def test_a_failure_to_start_is_not_told_of_an_item():
    with pytest.raises(ProcessError, match="SIGSEGV"):
        list(map_apart("targets:ready", ["a"], setup=("crash",), num_children=2))


def test_closing_the_iterator_ends_processes_and_threads():
    before = threading.active_count()
    results = map_apart("targets:ready_for_items", ["a", "hang", "hang", "hang"], num_children=2)
    assert next(results) == ("a", "A")
    results.close()
    assert threading.active_count() == before
