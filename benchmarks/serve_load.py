"""Does the server keep its clients apart under load? Every clip carries its number, and every answer is compared.

    python benchmarks/serve_load.py --seconds 60

1. Clients send numbered clips for `--seconds`: no answer may be lost, doubled or swapped. In turns with it, one client
   asks a server with batches of 1: the throughput one by one.
2. One of the clients sends a poisoned clip all the time, which cannot be decoded, kills the decoder or makes its batch
   fail: only its sender may notice.
3. `--hang-ups` clients hang up: before a request, in its head, in its body, after it, and while it is queued. Nothing
   may be left of them, and nothing be computed for those that were still queued.
4. Ten times as many requests as the server can answer: it must refuse with 503 and `Retry-After` within 50 ms (p99),
   and p99 of those that it answers may be 3 times that without load.

The model is tiny unless `--model` names one. Prints JSON; the exit status is 1 if anything is wrong. Linux only.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from machine import describe_machine
from serve_clips import Clips, percentile_ms, write_clips, write_model
from serve_crowd import Tally, crowd, steady
from serve_hang_ups import hang_ups, queued_hang_ups
from serve_http import ask
from serve_poison import POISONS, poisoned
from serve_process import Server, serving

NUM_CLIPS = 64
OVERLOAD_QUEUE = 3
"""Requests that the server takes at a time in the last part: what is accepted then waits for so many others."""
REFUSAL_MS = 50.0
ACCEPTED_RATIO = 3.0
LOAD = 10
_BAD = ("lost", "doubled", "swapped", "failed")


def main() -> int:
    """Run the benchmark, print JSON, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="length of each part")
    parser.add_argument("--clients", type=int, default=16, help="clients at the same time")
    parser.add_argument("--turns", type=int, default=4, help="turns of many clients and one by one")
    parser.add_argument("--hang-ups", type=int, default=1000, help="clients that hang up")
    parser.add_argument("--model", type=Path, help="model to serve instead of a tiny one")
    parser.add_argument(
        "--option", action="append", default=[], help="option of `timesformer serve`, as --option=--max-batch=4"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder),
            seconds=arguments.seconds,
            clients=arguments.clients,
            turns=arguments.turns,
            num_hang_ups=arguments.hang_ups,
            model=arguments.model,
            options=tuple(arguments.option),
        )
    print(json.dumps(result | {"machine": describe_machine()}, indent=2))
    return 1 if any(result["wrong"].values()) else 0


def run(
    folder: Path,
    *,
    seconds: float,
    clients: int,
    turns: int,
    num_hang_ups: int,
    model: Path | None = None,
    options: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run all parts.

    Args:
        folder: Existing folder for all files.
        seconds: Length of each part.
        clients: Clients at the same time.
        turns: Turns of many clients and one by one.
        num_hang_ups: Clients that hang up.
        model: Model to serve; None makes a tiny one.
        options: Options of `timesformer serve`.
    """
    model = model or write_model(folder / "model")
    clips = write_clips(folder / "clips", model, count=NUM_CLIPS)
    others = max(1, clients - 1)
    calls: dict[str, Callable[..., dict[str, Any]]] = {
        "load": partial(load, seconds=seconds, clients=clients, turns=turns),
        **{kind: partial(poisoned, kind=kind, seconds=seconds / len(POISONS), clients=others) for kind in POISONS},
        "hang_ups": partial(hang_ups, count=num_hang_ups),
        "queued": partial(queued_hang_ups, count=clients),
        "overload": partial(overload, seconds=seconds),
    }
    parts = {}
    for name, call in calls.items():
        print(name, file=sys.stderr, flush=True)
        (folder / name).mkdir()
        parts[name] = call(folder / name, model, clips, options=options)
    return {"seconds": seconds, "clients": clients, "options": options, **parts, "wrong": wrong(parts)}


def load(
    folder: Path, model: Path, clips: Clips, *, seconds: float, clients: int, turns: int, options: tuple[str, ...]
) -> dict[str, Any]:
    """Many clients, in turns with one client of a server with batches of 1."""
    together, alone = Tally(), Tally()
    (folder / "one").mkdir()
    with (
        serving(model, folder, *options) as server,
        serving(model, folder / "one", *options, "--max-batch", "1") as one_by_one,
    ):
        for each in (server, one_by_one):
            asyncio.run(crowd(each, clips, seconds=1, clients=1, tally=Tally()))
        for turn in range(turns):
            asyncio.run(crowd(server, clips, seconds=seconds / turns, clients=clients, tally=together, seed=turn))
            asyncio.run(crowd(one_by_one, clips, seconds=seconds / turns, clients=1, tally=alone, seed=turn))
        batches = server.sum_of("timesformer_batch_size_count")
        mean = server.sum_of("timesformer_batch_size_sum") / max(1, batches)
        is_idle, files = server.wait_until_idle(), server.files()
    return {
        "together": together.report(),
        "one_by_one": alone.report(),
        "times_as_many": round(together.per_second / alone.per_second, 2),
        "mean_batch": round(mean, 2),
        "idle_afterwards": is_idle,
        "files_left": files,
    }


def overload(folder: Path, model: Path, clips: Clips, *, seconds: float, options: tuple[str, ...]) -> dict[str, Any]:
    """Requests at ten times the rate at which they are answered."""
    options = (*options, "--queue", str(OVERLOAD_QUEUE))
    alone, full, flood = Tally(), Tally(), Tally()
    with serving(model, folder, *options) as server:
        asyncio.run(crowd(server, clips, seconds=1, clients=1, tally=Tally()))
        asyncio.run(crowd(server, clips, seconds=seconds / 4, clients=1, tally=alone))
        asyncio.run(crowd(server, clips, seconds=seconds / 4, clients=OVERLOAD_QUEUE, tally=full))
        rate = LOAD * full.per_second
        asyncio.run(steady(server, clips, seconds=seconds / 2, per_second=rate, tally=flood))
        is_idle, files = server.wait_until_idle(), server.files()
        afterwards = asyncio.run(_one(server, clips))
    p99_alone, p99_flood = (percentile_ms(tally.accepted, 0.99) for tally in (alone, flood))
    return {
        "unloaded": alone.report(),
        "full": full.report(),
        "wanted_per_second": round(rate, 1),
        "overloaded": flood.report(),
        "p99_times_unloaded": round(p99_flood / p99_alone, 2) if p99_flood and p99_alone else None,
        "idle_afterwards": is_idle,
        "files_left": files,
        "right_afterwards": afterwards,
    }


async def _one(server: Server, clips: Clips) -> bool:
    answer = await ask(
        server.port, "POST", "/v1/predict?top_k=1000", clips.contents[0], headers={"Content-Type": "video/mp4"}
    )
    return answer.status == 200 and clips.number_of(answer.json()) == 0


def wrong(parts: dict[str, Any]) -> dict[str, Any]:
    """What the parts should not have shown."""
    crowds = {
        "together": parts["load"]["together"],
        "one by one": parts["load"]["one_by_one"],
        "overload": parts["overload"]["overloaded"],
        **{kind: parts[kind]["others"] for kind in POISONS},
    }
    flood = crowds["overload"]
    return {
        "lost, doubled, swapped or failed": {
            name: report for name, report in crowds.items() if any(report[key] for key in _BAD)
        },
        "refused without Retry-After": flood["without_retry_after"],
        "nothing refused": not flood["refused"],
        "refused late": flood["refused"] and flood["refused_ms"]["p99"] > REFUSAL_MS,
        "accepted late": (parts["overload"]["p99_times_unloaded"] or float("inf")) > ACCEPTED_RATIO,
        "not idle afterwards": [name for name, part in parts.items() if not part["idle_afterwards"]],
        "files left": {name: part["files_left"] for name, part in parts.items() if part["files_left"]},
        "poison answered": [kind for kind in POISONS if parts[kind]["wrong_statuses"]],
        "left by hang-ups": parts["hang_ups"]["wrong"] + parts["queued"]["wrong"],
    }


if __name__ == "__main__":
    sys.exit(main())
