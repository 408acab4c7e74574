"""Whether a process that a launcher started again goes on with the run that it began."""

from pathlib import Path

import pytest

from timesformer.errors import ConfigError
from timesformer.training.restarts import Job, check_can_restart, continues, find_jobs, marks_of
from timesformer.training.run_folder import RunFolder


def test_jobs_are_those_of_torchrun_and_slurm():
    assert find_jobs({}) == []
    torchrun = {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert find_jobs(torchrun) == [Job("torchrun a", 2)]
    assert find_jobs({"SLURM_JOB_ID": "7"}) == [Job("SLURM 7", 0)]
    assert find_jobs({**torchrun, "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"})[1] == Job("SLURM 7", 1)


@pytest.mark.parametrize(
    ("job", "goes_on"),
    [(Job("torchrun a", 1), True), (Job("torchrun a", 0), False), (Job("torchrun ab", 1), False)],
)
def test_restarted_job_continues_the_run_that_it_began_and_no_other(tmp_path: Path, job: Job, goes_on: bool):
    folder = RunFolder(tmp_path)
    folder.config.write_text(marks_of([Job("SLURM 7", 3), Job("torchrun a", 0)]) + 'output = "x"\n')
    assert continues([job], folder) is goes_on


def test_restarted_job_without_a_run_continues_nothing(tmp_path: Path):
    assert not continues([Job("torchrun a", 1)], RunFolder(tmp_path))
    assert marks_of([]) == ""


def test_overwriting_needs_a_name_if_processes_may_be_restarted():
    check_can_restart({"TORCHELASTIC_MAX_RESTARTS": "0", "TORCHELASTIC_RUN_ID": "none"}, overwrite=True)
    check_can_restart({"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_RUN_ID": "a"}, overwrite=True)
    nameless = {"TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_RUN_ID": "none"}
    check_can_restart(nameless, overwrite=False)
    with pytest.raises(
        ConfigError, match=r"overwrite=True \(--overwrite\) with torchrun --max-restarts=3: .*--rdzv-id"
    ):
        check_can_restart(nameless, overwrite=True)
