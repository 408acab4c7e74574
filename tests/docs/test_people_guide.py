"""The guide and the card of generated people: their commands, their numbers and their settings."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from timesformer.cli.main import build_app
from timesformer.config.io import from_dict
from timesformer.config.schema import ClipConfig
from timesformer.people.arms import ARMS
from timesformer.people.batch import CLIPS
from timesformer.people.config import PeopleRun
from timesformer.people.legs import LEGS
from timesformer.people.pretrain import CHECKPOINT_STEPS, RECORD_STEPS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "guides/people.md", DOCS / "models/people.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.parent.name)
def test_every_command_is_one(page: Path):
    commands = re.findall(r"^timesformer (.+)$", page.read_text("utf-8"), re.MULTILINE)
    assert commands
    for line in commands:
        build_app().parse_args(shlex.split(line), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.parent.name)
def test_families_are_counted_right(page: Path):
    text = " ".join(page.read_text("utf-8").split())
    assert f"{len(ARMS)} families of arms" in text
    assert f"and {len(LEGS)} of legs" in text


def test_the_settings_of_color_are_those_that_are_drawn():
    (text,) = re.findall(r"```toml\n(.*?)```", PAGES[0].read_text("utf-8"), re.DOTALL)
    assert from_dict(tomllib.loads(text)["clip"], kind=ClipConfig, source="guide") == CLIPS["color"]


def test_defaults_and_intervals_are_those_of_the_guide():
    text, run = PAGES[0].read_text("utf-8"), PeopleRun()
    assert f"every {CHECKPOINT_STEPS} steps" in text and f"every {RECORD_STEPS} steps" in text
    assert f"`--batch-size {run.batch_size}`" in text and f"--steps {run.steps}" in text
    assert (run.lr, run.weight_decay) == (0.001, 0.05)
