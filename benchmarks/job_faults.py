"""Does a batch job survive? Its driver is killed twice and its workers three times; then every file is counted.

    python benchmarks/job_faults.py --engine local --files 2000

Of the files, 1 % are corrupt, 1 % kill the process that opens them, and one hangs (see `fault_videos.py`). The job runs
twice: undisturbed, and killed at moments drawn from `--seed`, counted in finished files. Then each file must be exactly
once in `rows` or in `quarantine.jsonl`, the rows of both runs equal to the byte, and no process or temporary file left.
Prints JSON; the exit status is 1 if anything is wrong. Linux only.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from fault_videos import FaultVideos, write_fault_videos, write_traps
from job_runs import Job, Run, disturbed, undisturbed
from machine import describe_machine
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save


def main() -> int:
    """Run the benchmark, print JSON, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="engine of the job")
    parser.add_argument("--files", type=int, default=2000, help="number of files")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the files and the moments of the kills")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder),
            engine=arguments.engine,
            files=arguments.files,
            workers=arguments.workers,
            seed=arguments.seed,
        )
    print(json.dumps(result | {"machine": describe_machine()}, indent=2))
    return 0 if not any(result["wrong"].values()) else 1
