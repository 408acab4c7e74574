"""The simulation of a pipeline, against closed forms and what must hold for any pipeline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_simulation import Outcome, Stage, bottleneck, simulate

STAGES = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 50), st.integers(0, 5)).map(
        lambda drawn: (drawn[0], drawn[1] / 10, drawn[2])
    ),
    min_size=1,
    max_size=4,
)


def pipeline(drawn: list[tuple[int, float, int]]) -> list[Stage]:
    return [
        Stage(name=f"stage {k}", servers=servers, seconds=seconds, room=room)
        for k, (servers, seconds, room) in enumerate(drawn)
    ]


@given(STAGES, st.integers(1, 60), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 3))
def test_every_item_leaves_and_all_work_is_done_once(drawn: list, num_items: int, variation: float, seed: int):
    stages = pipeline(drawn)
    outcome = simulate(stages, num_items=num_items, variation=variation, seed=seed)
    assert outcome.num_items == num_items
    for stage in stages:
        assert outcome.busy[stage.name] + outcome.blocked[stage.name] <= 1 + 1e-9
        assert outcome.blocked[stage.name] >= 0
    assert outcome.blocked[stages[-1].name] == 0
    if variation == 0:
        work = {stage.name: num_items * stage.seconds for stage in stages}
        done = {stage.name: outcome.busy[stage.name] * outcome.seconds * stage.servers for stage in stages}
        assert done == pytest.approx(work)


@given(STAGES, st.integers(1, 60))
def test_equal_items_are_never_faster_than_the_slowest_stage(drawn: list, num_items: int):
    stages = pipeline(drawn)
    outcome = simulate(stages, num_items=num_items)
    slowest = bottleneck(stages)
    through_others = sum(stage.seconds for stage in stages) - slowest.seconds
    rounds = -(-num_items // slowest.servers)
    assert outcome.seconds >= rounds * slowest.seconds + through_others - 1e-9


@given(STAGES, st.integers(1, 40), st.integers(0, 3), st.data())
def test_more_servers_or_more_room_for_equal_items_cost_no_time(
    drawn: list, num_items: int, more_room: int, data: st.DataObject
):
    index = data.draw(st.integers(0, len(drawn) - 1))
    servers, seconds, room = drawn[index]
    larger = [*drawn[:index], (servers + 1, seconds, room + more_room), *drawn[index + 1 :]]
    before = simulate(pipeline(drawn), num_items=num_items)
    assert simulate(pipeline(larger), num_items=num_items).seconds <= before.seconds + 1e-9


@pytest.mark.parametrize("room", [0, 1, 7])
def test_single_servers_with_equal_items_take_the_closed_form(room: int):
    stages = pipeline([(1, 0.3, 0), (1, 0.7, room), (1, 0.2, room)])
    assert simulate(stages, num_items=50).seconds == pytest.approx(0.3 + 0.7 + 0.2 + 49 * 0.7)


@pytest.mark.parametrize("servers", [1, 3])
def test_one_stage_alone_takes_its_work_divided_by_its_servers(servers: int):
    outcome = simulate([Stage(name="decode", servers=servers, seconds=2.0)], num_items=30)
    assert outcome.seconds == pytest.approx(60 / servers)
    assert outcome.busy == {"decode": pytest.approx(1)}
    assert outcome.rate == pytest.approx(Stage(name="", servers=servers, seconds=2.0).rate)


@pytest.mark.parametrize("room", [0, 1, 4])
def test_two_exponential_servers_reach_the_known_rate(room: int):
    # saturated two-station line with exponential times of mean 1 and b places between: (b + 2) / (b + 3),
    # Hunt 1956; the standard error over 40 000 items is about 0.005
    stages = pipeline([(1, 1.0, 0), (1, 1.0, room)])
    outcome = simulate(stages, num_items=40_000, variation=1.0, seed=1)
    assert outcome.rate == pytest.approx((room + 2) / (room + 3), abs=0.015)


def test_slow_stage_blocks_the_one_before_it():
    stages = pipeline([(1, 0.1, 0), (1, 1.0, 2)])
    outcome: Outcome = simulate(stages, num_items=100)
    assert outcome.busy["stage 1"] > 0.99
    assert outcome.blocked["stage 0"] > 0.85


def test_times_depend_on_the_seed_alone():
    stages = pipeline([(2, 1.0, 1), (1, 0.4, 3)])
    first, again, other = (simulate(stages, num_items=50, variation=0.7, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("changes", "message"), [({"servers": 0}, "servers=0 must be 1"), ({"seconds": -1.0}, "or more")]
)
def test_impossible_stage_is_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Stage(**{"name": "x", "servers": 1, "seconds": 1.0, **changes})


def test_simulation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="num_items=0 must be 1 or more"):
        simulate(pipeline([(1, 1.0, 0)]), num_items=0)
