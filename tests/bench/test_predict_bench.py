import pytest

from timesformer.bench.predict import OURS, run
from timesformer.bench.scenes import Scene
from timesformer.errors import ConfigError

pytestmark = pytest.mark.xdist_group("transformers")  # one process pays for the import


def test_all_ways_give_the_same_probabilities():
    result = run(preset="tiny", rounds=1, scene=Scene(num_frames=24, height=48)).to_dict()
    assert set(result["ways"]) == {OURS, "ours block by block", "whole video, transformers"}
    assert max(result["agreement"].values()) < 1e-5
    assert set(result["speedup_of_ours"]) == set(result["agreement"])


def test_an_unknown_way_is_refused():
    with pytest.raises(ConfigError, match="'theirs' is not one of"):
        run(preset="tiny", rounds=1, only=("theirs",))
