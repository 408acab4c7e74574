import pytest

from timesformer.bench import cost
from timesformer.bench.cost import run
from timesformer.cli.main import main
from timesformer.errors import ConfigError


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(cost, "CLIP_SIZES", ((8, 224), (2, 224), (8, 16)))


def test_each_scheme_is_timed_at_each_size_next_to_its_closed_form():
    result = run(preset="tiny", rounds=2).to_dict()
    assert len(result["candidates"]) == 6
    joint, divided = (result["candidates"][f"{scheme}, 8 x 224"] for scheme in cost.COMPARED_SCHEMES)
    assert joint["tokens"] == divided["tokens"] == 8 * 28 * 28 + 1
    assert joint["median_s"] > divided["median_s"] > 0
    assert joint["closed_form_s"] > divided["closed_form_s"] > 0


def test_a_plot_is_drawn_and_other_benchmarks_have_none(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "cost", "--preset", "tiny", "--rounds", "1", "--plot", str(tmp_path / "cost.png"), "--json"])
    assert stop.value.code == 0
    assert (tmp_path / "cost.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit) as stop:
        main(["bench", "model", "--plot", str(tmp_path / "model.png")])
    assert stop.value.code == 2
    assert "--plot has no effect on `bench model`" in capsys.readouterr().err


def test_a_scheme_that_is_not_compared_is_refused():
    with pytest.raises(ConfigError, match="only='axial' is not one of"):
        run(preset="tiny", rounds=1, only=("axial",))


def test_more_clips_are_more_work():
    one, three = (run(preset="tiny", rounds=1, only=("divided_space_time",), clips=clips) for clips in (1, 3))
    name = "divided_space_time, 2 x 224"
    assert three.details[name]["gmac"] == pytest.approx(3 * one.details[name]["gmac"])
    assert three.title == "Seconds of 3 clips through tiny, by clip size"
