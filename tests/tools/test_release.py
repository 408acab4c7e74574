"""Workflows and image: least rights, pinned actions, pinned and hashed packages, what is run exists."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
CI, RELEASE = (
    yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text("utf-8")) for name in ("ci", "release")
)
JOBS = [(path.stem, name) for path in WORKFLOWS for name in yaml.safe_load(path.read_text("utf-8"))["jobs"]]
TARGETS = set(re.findall(r"(?m)^([\w.-]+):", (ROOT / "Makefile").read_text("utf-8")))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def job(workflow: str, name: str) -> dict:
    return {"ci": CI, "release": RELEASE}[workflow]["jobs"][name]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_by_a_full_commit_and_names_its_version(path: Path):
    lines = [line for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert lines
    assert [line for line in lines if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize("workflow", [CI, RELEASE], ids=["ci", "release"])
def test_a_workflow_has_no_right_that_a_job_does_not_ask_for(workflow: dict):
    assert workflow["permissions"] == {}


@pytest.mark.parametrize(("workflow", "name"), JOBS)
def test_a_job_ends_and_checks_out_without_leaving_a_token(workflow: str, name: str):
    described = job(workflow, name)
    assert described["timeout-minutes"] <= 90
    checkouts = [step for step in described["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


@pytest.mark.parametrize(("workflow", "name"), JOBS)
def test_a_job_runs_targets_of_the_makefile(workflow: str, name: str):
    commands = [step["run"] for step in job(workflow, name)["steps"] if step.get("run", "").startswith("make ")]
    targets = {word for command in commands for word in command.split()[1:] if "=" not in word}
    assert targets <= TARGETS


@pytest.mark.parametrize(
    ("workflow", "name", "rights"),
    [
        ("ci", "test", {"contents": "read"}),
        ("ci", "lint", {"contents": "read"}),
        ("ci", "audit", {"contents": "read"}),
        ("release", "build", {"contents": "read"}),
        ("release", "attest", {"id-token": "write", "attestations": "write"}),
        ("release", "publish", {"id-token": "write"}),
    ],
)
def test_rights_of_a_job(workflow: str, name: str, rights: dict):
    assert job(workflow, name)["permissions"] == rights


def test_ci_runs_tests_lint_and_audit_also_once_a_week():
    triggers = CI[True]  # YAML reads the key `on` as a boolean
    assert set(triggers) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    assert triggers["schedule"] == [{"cron": "17 4 * * 1"}]
    assert set(CI["jobs"]) == {"test", "lint", "audit"}


def test_release_publishes_without_a_token_what_was_built_and_attested():
    assert RELEASE[True] == {"push": {"tags": ["v*"]}}
    assert (job("release", "attest")["needs"], job("release", "publish")["needs"]) == ("build", "attest")
    publish = job("release", "publish")["steps"][-1]
    assert publish["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "with" not in publish
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text("utf-8")


# --- The image ------------------------------------------------------------------------------------------------------


def stages() -> list[list[str]]:
    """Instructions of each stage, continuation lines joined."""
    lines = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE).replace("\\\n", " ").splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("FROM ")]
    bounds = zip(starts, [*starts[1:], len(lines)], strict=True)
    return [[line for line in lines[start:end] if line.strip()] for start, end in bounds]


def test_image_has_a_pinned_slim_base_and_runs_without_root():
    build, final = stages()
    assert re.search(r"(?m)^ARG BASE=python:3\.\d+-slim-\w+$", DOCKERFILE)
    assert (build[0], final[0]) == ("FROM ${BASE} AS build", "FROM ${BASE}")
    assert [line for line in final if line.startswith("USER ")] == ["USER 10001:10001"]
    assert final[-2:] == ['ENTRYPOINT ["timesformer"]', 'CMD ["--help"]']


def test_final_stage_installs_nothing_and_holds_its_bill_of_materials():
    final = stages()[1]
    assert not any(re.search(r"apt-get|pip install|COPY (?!--from=build)", line) for line in final)
    assert "COPY --from=build /opt/sbom.json /usr/share/doc/timesformer/sbom.json" in final


def test_build_stage_copies_what_its_install_needs_and_names_extras_that_exist():
    build = stages()[0]
    copied = {word for line in build if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert {"pyproject.toml", "requirements.lock", "constraints.txt", "tools", "src", "README.md", "LICENSE"} == copied
    admitted = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {f"!{name}" for name in copied} <= set(admitted)
    extras = re.search(r'ARG EXTRAS="([^"]+)"', DOCKERFILE)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert extras is not None
    assert set(extras[1].split()) <= set(known)


@pytest.mark.parametrize("script", ["tools/install_image.sh", "tools/install_torch.sh"])
def test_scripts_install_with_hashes_alone(script: str):
    text = (ROOT / script).read_text("utf-8")
    installs = [line for line in text.splitlines() if re.search(r"pip\"? install|PIP\" install", line)]
    assert installs
    # pip.txt has hashes of its own, and the wheel was built a few lines before
    assert [line for line in installs if not re.search(r"\$PINS|pip\.txt|dist/\*\.whl", line)] == []
