"""What the documents promise is there: files, verbs, recipes, tests."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from timesformer.cli.main import VERBS, build_app, main
from timesformer.config.io import read_config
from timesformer.config.run import RunConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_inside_the_project_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_path_of_the_project_that_a_page_names_is_there(page):
    named = re.findall(r"`((?:tests|benchmarks|src|recipes|docs)/[\w/.-]+)`", page.read_text("utf-8"))
    assert [path for path in named if "*" not in path and not (ROOT / path).exists()] == []


def test_every_verb_in_the_readme_exists():
    text = (ROOT / "README.md").read_text("utf-8")
    verbs = set(re.findall(r"^timesformer (\w+)|`timesformer (\w+)", text, re.MULTILINE))
    assert {first or second for first, second in verbs} <= set(VERBS)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_a_run_that_says_how_to_start_it(recipe):
    assert read_config(recipe, kind=RunConfig).epochs > 0
    assert f"--config recipes/{recipe.name}" in recipe.read_text("utf-8")


def by_model(recipes: list[Path]) -> list[Path]:
    """One recipe for each model, whatever its classes."""
    models = {replace(read_config(recipe, kind=RunConfig).model, num_classes=1): recipe for recipe in recipes}
    return list(models.values())


def dry_run(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The plan that a training command prints."""
    with pytest.raises(SystemExit) as stop:
        main([*words, "--dry-run"])
    captured = capsys.readouterr()
    assert stop.value.code == 0, captured.err
    return captured.out


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_command_in_the_head_of_a_recipe_works(recipe):
    commands = re.findall(r"^#   timesformer (.+)$", recipe.read_text("utf-8"), re.MULTILINE)
    assert any(line.startswith("train ") for line in commands)
    for line in commands:
        build_app().parse_args(shlex.split(line), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("recipe", by_model(RECIPES), ids=lambda path: path.stem)
def test_training_of_every_model_in_the_recipes_prints_its_plan(recipe, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    commands = re.findall(r"^#   timesformer (train .+)$", recipe.read_text("utf-8"), re.MULTILINE)
    run = read_config(recipe, kind=RunConfig)
    for words in ([*shlex.split(command)] for command in commands):
        printed = dry_run(words, capsys)
        assert run.model.scheme in printed
        assert f"keeps         the {run.keep} epoch" in printed


def test_recipe_without_data_prints_its_plan(capsys):
    assert "in runs/k400_divided" in dry_run(["train", "--config", str(ROOT / "recipes/k400_divided.toml")], capsys)


@pytest.mark.parametrize("page", ["serve"])
def test_every_command_of_a_guide_is_one(page):
    text = (ROOT / f"docs/guides/{page}.md").read_text("utf-8").replace("\\\n", " ")
    commands = re.findall(r"^(?:.*? )?timesformer (serve .+)$", text, re.MULTILINE)
    assert commands
    for line in commands:
        build_app().parse_args(shlex.split(line), exit_on_error=False, print_error=False)
