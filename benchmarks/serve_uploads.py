"""Does the server survive its uploads? Damaged and odd videos, decoders that die or hang, floods and bombs.

    python benchmarks/serve_uploads.py --uploads 5000 --zoo FOLDER

1. Damaged copies of videos of all codecs and of those of the zoo (see `mutated_videos.py`), and each file of the zoo as
   it is, go to all routes: no answer may be a 5xx or missing, no file may be left, and the server may not grow by more
   than a tenth once it has read the zoo and a tenth of the damaged files.
2. A decoder that dies (SIGSEGV), hangs or takes all memory is one 422; the next upload is answered.
3. A gigabyte against a limit of 100 MB, with a length, in chunks and as a form, is refused after at most 101 MB.
4. Bombs (8K x 8K, a million frames, ten hours) are refused within a second.
5. schemathesis draws requests from `/openapi.json`, and finds no answer that breaks it.

The model is tiny. Prints JSON; the exit status is 1 if anything is wrong. Linux only.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from machine import describe_machine
from serve_clips import write_model
from serve_damage import send_damaged
from serve_floods import clip_content, send_bombs, send_floods, send_traps
from serve_process import serving
from serve_schema import try_schema


def main() -> int:
    """Run the benchmark, print JSON, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=5000, help="number of damaged uploads")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--zoo", type=Path, nargs="*", default=[], help="folders of further videos")
    parser.add_argument("--clients", type=int, default=4, help="clients at the same time")
    parser.add_argument("--examples", type=int, default=200, help="requests of a kind for a route by schemathesis")
    parser.add_argument("--flood-mb", type=int, default=1000, help="size of a flood in megabytes of 10^6 bytes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder),
            num_uploads=arguments.uploads,
            seed=arguments.seed,
            zoo=arguments.zoo,
            clients=arguments.clients,
            flood_mb=arguments.flood_mb,
            max_examples=arguments.examples,
        )
    print(json.dumps(result | {"machine": describe_machine()}, indent=2))
    return 1 if any(result["wrong"].values()) else 0


def run(
    folder: Path,
    *,
    num_uploads: int,
    seed: int,
    zoo: list[Path],
    clients: int,
    flood_mb: int,
    max_examples: int,
) -> dict[str, Any]:
    """Run all parts.

    Args:
        folder: Existing folder for all files.
        num_uploads: Number of damaged uploads.
        seed: Of the damage.
        zoo: Folders of videos.
        clients: Clients at the same time.
        flood_mb: Size of a flood in megabytes.
        max_examples: Requests of a kind for a route by schemathesis.
    """
    model = write_model(folder / "model")
    calls: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
        "damaged": partial(send_damaged, num_uploads=num_uploads, seed=seed, zoo=zoo, clients=clients),
        "traps": send_traps,
        "floods": partial(send_floods, flood_mb=flood_mb),
        "bombs": send_bombs,
        "schema": partial(send_by_schema, max_examples=max_examples),
    }
    parts = {}
    for name, call in calls.items():
        print(name, file=sys.stderr, flush=True)
        (folder / name).mkdir()
        parts[name] = call(folder / name, model)
    return {"seed": seed, **parts, "wrong": {name: part["wrong"] for name, part in parts.items()}}


def send_by_schema(folder: Path, model: Path, *, max_examples: int) -> dict[str, Any]:
    """Requests that are drawn from the server's own description: see `serve_schema.py`."""
    clip_content(folder)
    with serving(model, folder) as server:
        found = try_schema(server, folder / "clip.mp4", folder, max_examples=max_examples)
        left = [] if server.wait_until_idle() else ["not idle", *server.files()]
    return {**found, "wrong": found["wrong"] + left}


if __name__ == "__main__":
    os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder prints its settings
    sys.exit(main())
