"""Pretraining on generated people draws its clips on the GPU, and learns there."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from people_runs import SIZE, TINY
from timesformer.people.batch import draw_batch
from timesformer.people.pretrain import pretrain_people


def test_clips_are_drawn_on_the_device_and_are_those_of_the_cpu_but_for_noise(device: str):
    drawn = draw_batch(
        seed=0, number=0, motions=3, looks=("depth", "color"), size=SIZE, device=torch.device(device)
    )  # fmt: skip
    assert {getattr(drawn, name).device.type for name in drawn.__slots__} == {device}
    expected = draw_batch(
        seed=0, number=0, motions=3, looks=("depth", "color"), size=SIZE, device=torch.device("cpu")
    )  # fmt: skip
    torch.testing.assert_close(drawn.targets.cpu(), expected.targets, rtol=1e-4, atol=1e-4)
    is_body = [clips[:3] > 0.5 for clips in (drawn.clips.cpu(), expected.clips)]
    assert (is_body[0] == is_body[1]).float().mean() > 0.98


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_pretraining_runs_and_is_resumed(device: str, precision: str, tmp_path: Path):
    run = replace(TINY, steps=3, device=device, precision=precision, output=str(tmp_path / "run"))
    folder = pretrain_people(run)
    with open(folder / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert all(torch.tensor(float(value)).isfinite() for value in row.values())
    assert pretrain_people(run, resume=True) == folder
