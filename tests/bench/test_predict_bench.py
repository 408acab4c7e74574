import pytest

from timesformer.bench.panning_video import PanningVideo
from timesformer.bench.predict import OURS, run
from timesformer.errors import ConfigError

pytestmark = pytest.mark.xdist_group("transformers")  # one process pays for the import


def test_all_implementations_give_the_same_probabilities():
    result = run(preset="tiny", rounds=1, video=PanningVideo(num_frames=24, height=48)).to_dict()
    assert set(result["candidates"]) == {OURS, "ours block by block", "whole video, transformers"}
    assert max(result["max_difference"].values()) < 1e-5
    assert set(result["speedup_of_ours"]) == set(result["max_difference"])


def test_an_unknown_baseline_is_refused():
    with pytest.raises(ConfigError, match="'theirs' is not one of"):
        run(preset="tiny", rounds=1, only=("theirs",))
