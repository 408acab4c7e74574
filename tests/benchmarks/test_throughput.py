"""The benchmark of many files, at a tiny size."""

import json
from pathlib import Path

import pytest

import throughput
from synthetic_videos import SyntheticVideo

MADE = SyntheticVideo(num_frames=9, height=40, width=56)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns if torch has threads
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
def test_every_way_is_compared_with_the_loop(tmp_path: Path):
    result = throughput.run(tmp_path, data=None, model=None, videos=3, rounds=2, made=MADE)
    assert list(result["ways"]) == ["loop", "predict", "evaluate", "embed"]
    assert result["videos"] == 3
    assert result["model"] == "96 wide, 3 blocks, 8 frames of 32 x 32"
    assert result["ways"]["loop"]["ratio"] == 1.0
    assert all(way["videos_per_s"] > 0 and 0 <= way["waiting"] <= 1 for way in result["ways"].values())
    json.dumps(result)


def test_copies_are_made_of_few_videos(tmp_path: Path):
    paths = throughput.make_videos(tmp_path, MADE, count=5)
    contents = [path.read_bytes() for path in paths]
    assert len(set(contents)) == 2
    assert contents[0] == contents[2] == contents[4]
    assert contents[1] == contents[3]
