"""Verbs that a launcher starts several times at once."""

import pytest

from timesformer.cli.main import VERBS, refuse_several_processes

TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "evaluate"])
def test_verb_that_shares_no_work_is_refused_in_one_line(run, monkeypatch, verb):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    status, out, err = run(verb, "anything")
    assert (status, out) == (2, "")
    assert err == (
        f"error: WORLD_SIZE=2: `timesformer {verb}` runs in one process, and each of 2 would do all of the work; "
        "start it without torchrun, srun or mpirun. Only evaluate can share its work, "
        "and batch jobs with --shard I/N\n"
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "1", "WORLD_SIZE": "2"},
        {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"},
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
        {"PMI_RANK": "1", "PMI_SIZE": "2"},
    ],
)
def test_other_processes_end_without_a_word(run, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run("train", "videos") == (2, "", "")


def test_number_of_processes_is_enough(run, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    status, _, err = run("train", "videos")
    assert status == 2
    assert "WORLD_SIZE=8: `timesformer train` runs in one process" in err


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": "many"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # a batch script
        {"PMI_RANK": "0", "PMI_SIZE": "1"},
    ],
)
def test_one_process_may_do_anything(environment):
    for verb in VERBS:
        refuse_several_processes(verb, environment)


def test_help_is_shown_to_all(run, monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert run("train", "--help")[0] == 0
    assert run("--version")[0] == 0
