"""Does the server keep what `/openapi.json` says? schemathesis draws requests from it and checks the answers."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from serve_process import Server

CLIP = "TIMESFORMER_SERVE_CLIP"
"""Environment variable with the path of a whole clip, for the hooks."""

# a schema cannot say which bytes are a video, nor which numbers fit a model, so that valid requests are refused
_EXCLUDED = "positive_data_acceptance"
_TAIL = 6000


def try_schema(server: Server, clip: Path, folder: Path, *, max_examples: int, seed: int = 0) -> dict[str, Any]:
    """Draw requests for all routes.

    Args:
        server: The server.
        clip: A whole clip.
        folder: Existing folder for files.
        max_examples: Largest number of requests of a kind for a route.
        seed: Of the requests.
    """
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json",
        "--max-examples", str(max_examples), "--seed", str(seed), "--no-shrink", "--warnings", "off",
        "--exclude-checks", _EXCLUDED,
    ]  # fmt: skip
    added = {
        CLIP: str(clip),
        "SCHEMATHESIS_HOOKS": "serve_schema_hooks",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]),
        "NO_COLOR": "1",
    }
    start = time.monotonic()
    done = subprocess.run(
        command, env={**os.environ, **added}, cwd=folder, capture_output=True, text=True, errors="replace", check=False
    )
    found = [line.strip() for line in done.stdout.splitlines() if " generated, " in line]
    return {
        "max_examples": max_examples,
        "cases": found[-1] if found else "",
        "s": round(time.monotonic() - start, 1),
        "wrong": [] if done.returncode == 0 else [done.stdout[-_TAIL:], done.stderr[-_TAIL:]],
    }
