"""A run that is repeatedly killed at random moments and resumed ends with the bits of an uninterrupted one."""

import io
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from timesformer.cli.main import main
from timesformer.config.io import dump_toml
from timesformer.config.run import OptimConfig, RunConfig
from timesformer.training.train import is_finished, train
from timesformer.weights import model_folder
from timesformer.weights.load import load
from training_runs import are_equal, content_of, quiet

SEED = 3


@pytest.mark.slow  # every start of the command line imports torch and its trainer, which takes seconds
def test_run_that_is_killed_at_random_moments_ends_with_the_same_bits(run: RunConfig, tmp_path: Path):
    whole = replace(
        run,
        epochs=5,
        batch_size=4,
        accumulate=2,
        checkpoint_every=1,
        keep="last",
        optim=OptimConfig(lr=3e-3, warmup_fraction=0.2, ema_decay=0.8),
    )
    train(whole, on_message=quiet)
    killed = replace(whole, output=str(tmp_path / "killed"))
    (tmp_path / "run.toml").write_text(dump_toml(killed))
    done = _start("__host__", str(tmp_path / "run.toml"), killed.output)
    out, err = done.communicate(timeout=200)
    assert done.returncode == 0, err
    moments = out.split()
    assert len(moments) >= 6
    assert len(set(moments)) > 2  # steps, half-written files, whole ones that have not been renamed yet
    assert is_finished(killed)
    for name in ("last", "best"):
        assert content_of(killed.output, name) == content_of(whole.output, name)
    assert are_equal(load(killed.output).state_dict(), load(whole.output).state_dict())
    assert not list(Path(killed.output).rglob(".*"))


@pytest.mark.slow  # as above
def test_command_that_is_killed_from_outside_goes_on_with_resume(run: RunConfig, tmp_path: Path):
    whole = replace(run, epochs=8)
    train(whole, on_message=quiet)
    killed = replace(whole, output=str(tmp_path / "killed"))
    (tmp_path / "run.toml").write_text(dump_toml(killed))
    command = ("-m", "timesformer", "train", "--config", str(tmp_path / "run.toml"))
    process = _start(*command)
    _wait_for("epoch 2", process)
    process.kill()
    process.communicate(timeout=60)
    assert not is_finished(killed)
    resumed = _start(*command, "--resume")
    _, err = resumed.communicate(timeout=200)
    assert resumed.returncode == 0, err
    assert "resuming " in err
    assert content_of(killed.output) == content_of(whole.output)
    assert are_equal(load(killed.output).state_dict(), load(whole.output).state_dict())


def _start(*arguments: str) -> subprocess.Popen[str]:
    program = [__file__, *arguments[1:]] if arguments[0] == "__host__" else list(arguments)
    # the number of threads is part of the computation
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *program], env=env, **pipes)


def _wait_for(start: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith(start):
            return
    raise AssertionError(f"it ended before: {lines}")


# --- In a separate process, which imports everything once and forks for each start ------------------------------------


def _host(config: str, output: str) -> None:
    """Start `timesformer train` until it is done, killing each start at some moment; prints the kinds."""
    torch.set_num_threads(1)
    choose = random.Random(SEED)
    while kind := _run_and_die(config, output, moment=choose.randint(1, 16)):
        print(kind, flush=True)


def _arguments(config: str, output: str) -> list[str]:
    has_begun = (Path(output) / "config.toml").exists()
    return ["train", "--config", config, *(["--resume"] if has_begun else [])]


def _run_and_die(config: str, output: str, *, moment: int) -> str:
    """Start the command line and kill it at a moment of `_count_moments`; returns its kind, empty if it finished."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        _count_moments(moment, lambda kind: os.write(writer, kind.encode()))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        main(_arguments(config, output))
    os.close(writer)
    _, status = os.wait()
    kind = os.read(reader, 100).decode()
    os.close(reader)
    if os.waitstatus_to_exitcode(status) != (-signal.SIGKILL if kind else 0):
        sys.exit(f"ended with status {status} at {kind!r}")
    return kind


def _count_moments(last: int, tell: Callable[[str], object]) -> None:
    """Kill this process at a moment: before a micro-batch, in the middle of a file, or before a rename."""
    from timesformer.training.lightning_module import ClipClassifier

    count = 0

    def tick(kind: str) -> None:
        nonlocal count
        count += 1
        if count == last:
            tell(kind)
            os.kill(os.getpid(), signal.SIGKILL)

    def before(function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            tick(kind)
            return function(*arguments, **options)

        return call

    save = torch.save

    def save_in_halves(state: Any, file: io.BufferedWriter) -> None:
        buffer = io.BytesIO()
        save(state, buffer)
        content = buffer.getvalue()
        file.write(content[: len(content) // 2])
        file.flush()
        tick("amid-checkpoint")
        file.write(content[len(content) // 2 :])

    ClipClassifier.training_step = before(ClipClassifier.training_step, "step")
    torch.save = save_in_halves
    model_folder.save_file = before(model_folder.save_file, "before-model")
    Path.replace = before(Path.replace, "before-replace")
    os.rename = before(os.rename, "before-rename")


if __name__ == "__main__":
    _host(*sys.argv[1:])
