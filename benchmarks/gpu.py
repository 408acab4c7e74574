"""All measurements of a GPU in at most eight minutes: tests, speed, memory and kernels, next to `transformers`.

    benchmarks/gpu.sh                          # into benchmarks/results/gpu_<name>_<yyyymm>/
    benchmarks/gpu.sh OUT --minutes 5
    benchmarks/gpu.sh OUT --device cpu --model tiny --small tiny --clips 2 --rounds 1    # tries the script itself

Writes `results.json` after every step, `summary.md`, and `log.txt`, what the steps print. Steps run in order of
importance in a separate process, each within its time; one that fails or takes too long is recorded, and the others go
on. Needs torch, einops, jaxtyping and numpy; what needs more is named as unavailable.
"""

import argparse
import gc
import json
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpu_steps import Step, all_steps, run_step
from gpu_summary import summary
from timesformer.device import processor_name, resolve_device
from timesformer.errors import TimeSformerError
from timesformer.files import replacing
from timesformer.outputs import check_folder, refuse_existing, writing

_RESULTS = Path(__file__).parent / "results"


class Worker:
    """A process that runs steps one after the other; a new one is started after a failure.

    Args:
        log: File to which it prints.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def run(self, step: Step, *, within_s: float) -> dict[str, Any]:
        """The result of a step, or `{"error": ...}`."""
        if self._connection is None:
            self._start()
        assert self._connection is not None
        already_printed = self._log.stat().st_size
        self._connection.send((step.run, dict(step.arguments), step.tf32))
        try:
            if self._connection.poll(within_s):
                return self._connection.recv()
            reason = f"took longer than {within_s:.0f} s"
        except (EOFError, ConnectionError):
            printed = self._log.read_bytes()[already_printed:].decode(errors="replace").strip().splitlines()
            reason = printed[-1] if printed else "the process ended without a word"
        self.stop(at_once=True)
        return {"error": reason}

    def stop(self, *, at_once: bool = False) -> None:
        """End the process; at once, those that it has started as well."""
        if self._process is None:
            return
        assert self._connection is not None
        self._connection.close()  # an idle process ends by itself
        self._process.join(0 if at_once else 10)
        if at_once or self._process.is_alive():
            _kill_group(self._process)
            self._process.join()
        self._process = self._connection = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, str(self._log)), daemon=False)
        self._process.start()
        other.close()


def _kill_group(process: multiprocessing.process.BaseProcess) -> None:
    assert process.pid is not None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has not made its group yet
        process.kill()


def _serve(connection: Connection, log: str) -> None:
    """Run the steps that are sent, in a process group of its own, and print to the log."""
    os.setsid()
    with Path(log).open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    while True:
        try:
            run, arguments, tf32 = connection.recv()
        except EOFError:
            return
        connection.send(run_step(run, arguments, tf32=tf32))
        _free()


def _free() -> None:
    """Free what a step has left: models, the allocator's cache, compiled code."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def run_all(steps: Sequence[Step], folder: Path, *, seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
    """Run the steps until the time is over, and write the results after each.

    Args:
        steps: The steps, the most important first.
        folder: An existing folder for `results.json`, `summary.md` and `log.txt`.
        seconds: Time for all of them.
        facts: What the results begin with.
    """
    log = folder / "log.txt"
    log.write_bytes(b"")
    results: dict[str, Any] = {**facts, "steps": {}}
    worker, start = Worker(log), time.perf_counter()
    try:
        for step in steps:
            begun = time.perf_counter()
            within_s = min(step.budget_s, seconds - (begun - start))
            found = worker.run(step, within_s=within_s) if within_s > 5 else {"error": "no time was left"}
            taken_s = time.perf_counter() - begun
            results["steps"][step.name] = {"seconds": round(taken_s, 1), **found}
            print(f"{begun - start:5.0f} s  {step.name}: {found.get('error', f'{taken_s:.1f} s')}", flush=True)
            _write(results, folder)
    finally:
        worker.stop()
    return results


def _write(results: dict[str, Any], folder: Path) -> None:
    for name, text in {"results.json": json.dumps(results, indent=1), "summary.md": summary(results)}.items():
        with replacing(folder / name) as partial:
            partial.write_text(text + "\n", "utf-8")


def hardware(device: str) -> str:
    """The name of a device, in letters, digits and hyphens."""
    import torch

    name = torch.cuda.get_device_name() if resolve_device(device).type == "cuda" else processor_name()
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("nvidia", "")).strip("-")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, help="folder (default: benchmarks/results/gpu_<name>_<yyyymm>)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="base", help="preset, recipe or model folder (default: base)")
    parser.add_argument("--small", default="small", help="a small model to train (default: small)")
    parser.add_argument("--clips", type=int, default=8, help="clips per pass and step of the two targets (default: 8)")
    parser.add_argument("--rounds", type=int, default=11, help="timed rounds (default: 11)")
    parser.add_argument("--minutes", type=float, default=8, help="time for all steps (default: 8)")
    parser.add_argument("--steps", default="", help="comma-separated: only steps whose names begin with one of these")
    parser.add_argument("--overwrite", action="store_true", help="replace results in the folder")
    return parser.parse_args()


def main() -> None:
    """Run the steps and print the summary."""
    options = _arguments()
    words = [word.strip() for word in options.steps.split(",") if word.strip()]
    try:
        folder = options.out or _RESULTS / f"gpu_{hardware(options.device)}_{time.strftime('%Y%m')}"
        resolve_device(options.device)
        check_folder(folder)
        refuse_existing(*(folder / name for name in ("results.json", "summary.md")), overwrite=options.overwrite)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        steps = all_steps(
            device=options.device, model=options.model, small=options.small, rounds=options.rounds, clips=options.clips
        )
        facts = {
            "date": time.strftime("%Y-%m"),
            "device": options.device,
            "model": options.model,
            "clips": options.clips,
        }
        chosen = [step for step in steps if not words or step.name.startswith(tuple(words))]
        results = run_all(chosen, folder, seconds=60 * options.minutes, facts=facts)
    except TimeSformerError as error:
        sys.exit(f"gpu.py: {error}")
    print(f"\n{summary(results)}\n\nwritten to {folder}")


if __name__ == "__main__":
    main()
