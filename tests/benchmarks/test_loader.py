import json

import pytest

import loader
from synthetic_videos import SyntheticVideo
from timesformer.bench.timing import RunTimes

VIDEO = SyntheticVideo(num_frames=14, height=40, width=56)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns if torch has threads
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine of one core
def test_loaders_give_the_same_clips_and_clips_per_second(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loader, "worker_counts", lambda: [1, 2])
    result = loader.run(
        preset="tiny", rounds=1, only=("whole video", "whole decode"), video=VIDEO, num_clips=4
    ).to_dict()
    ours = ["timesformer, 1 worker", "timesformer, 2 workers"]
    others = ["whole video, 2 workers", "whole decode, 2 workers"]
    assert list(result["candidates"]) == [*ours, *others]
    assert result["max_difference"] == dict.fromkeys([ours[0], *others], 0.0)
    assert list(result["speedup_of_ours"]) == [ours[0], *others]
    candidate = result["candidates"][ours[1]]
    assert candidate["clips_per_s"] == pytest.approx(4 / candidate["median_s"])
    assert "data.num_workers=" in result["notes"][0]
    json.dumps(result)


@pytest.mark.parametrize(("cores", "counts"), [(1, [1, 2]), (2, [1, 2]), (6, [1, 2, 4]), (16, [1, 2, 4, 8, 16])])
def test_workers_are_tried_up_to_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, counts: list[int]):
    monkeypatch.setattr(loader.os, "cpu_count", lambda: cores)
    assert loader.worker_counts() == counts


@pytest.mark.parametrize(("seconds", "best"), [((4, 2, 1), 4), ((4, 2, 1.96), 2), ((1, 1, 3), 1)])
def test_fewest_workers_that_are_about_as_fast_are_advised(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...], best: int
):
    monkeypatch.setattr(loader, "worker_counts", lambda: [1, 2, 4])
    names = ("timesformer, 1 worker", "timesformer, 2 workers", "timesformer, 4 workers")
    times = {name: RunTimes((value,)) for name, value in zip(names, seconds, strict=True)}
    assert loader._advice(times).endswith(f"data.num_workers={best}")
