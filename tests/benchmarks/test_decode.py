import json

import pytest

import decode
from synthetic_videos import SyntheticVideo
from timesformer.errors import ConfigError

VIDEO = SyntheticVideo(num_frames=14, height=40, width=56)
ONLY = ("whole video", "whole decode")


def test_every_reader_reads_every_file_and_ours_is_compared_on_the_same_one():
    heard = []
    result = decode.run(
        preset="tiny",
        rounds=2,
        only=ONLY,
        video=VIDEO,
        gops=(9, 4),
        on_progress=lambda done, total: heard.append((done, total)),
    ).to_dict()
    cases = ("training, GOP 9", "training, GOP 4", "testing, GOP 9")
    names = ("timesformer", "whole video", "whole decode")
    assert list(result["candidates"]) == [f"{name}: {case}" for case in cases for name in names]
    assert all(candidate["rounds"] == 2 and candidate["cpu_s"] > 0 for candidate in result["candidates"].values())
    assert heard[-1] == (27, 27)
    assert set(result["speedup_of_ours"]) == {
        name for name in result["candidates"] if not name.startswith("timesformer")
    }
    assert set(result["max_difference"].values()) == {0.0}
    assert result["settings"]["gops"] == [9, 4]
    assert result["settings"]["bytes"]["4"] > result["settings"]["bytes"]["9"] > 500
    json.dumps(result)


def test_unknown_preset_and_no_rounds_are_refused():
    with pytest.raises(ConfigError, match="preset 'huge' is not one of"):
        decode.run(preset="huge", rounds=1, video=VIDEO)
    with pytest.raises(ConfigError, match="rounds=0 must be at least 1"):
        decode.run(preset="tiny", rounds=0, video=VIDEO, gops=(9,))
