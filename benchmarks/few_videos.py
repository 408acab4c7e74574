"""What few videos give: a probe, fine-tuning, and training from nothing, by cross-validation over groups.

    python benchmarks/few_videos.py DATA... --init-from WEIGHTS --folds 4 --output runs/few_videos

Every way is trained without each fold in turn and evaluated on it with all views; groups of DATA (column `group`) are
never in two folds. Probe and `fine-tuned` have the settings of `train --init-from`; `fine-tuned` is the model that such
a run keeps, chosen between probe and fine-tuning by validation videos inside its training part. `from nothing` has
those of `train`, or of a config. The features of a video are computed once for all folds. A run that was interrupted
goes on. The result lies in OUTPUT/few_videos.json and few_videos.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from machine import describe_machine
from timesformer.cli.run_config import TrainOptions, requested_run
from timesformer.config.run import RunConfig
from timesformer.cross_validation.held_out import continue_training
from timesformer.cross_validation.result import CrossValidation
from timesformer.cross_validation.run import cross_validate
from timesformer.errors import TimeSformerError
from timesformer.evaluation.intervals import format_interval
from timesformer.files import replacing
from timesformer.fine_tuning.run import continue_fine_tuning
from timesformer.outputs import writing

WAYS = ("probe", "fine-tuned", "from nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to train."""

    name: str
    run: RunConfig
    train: Callable[[RunConfig], Path]
    chooses: bool | None
    """Whether it chooses something by validation videos; None for what the run says."""


def ways_of(data: str, arguments: argparse.Namespace, *, folder: Path) -> list[Way]:
    """The ways that were asked for, for a data set, whose runs lie in a folder."""
    tune = partial(continue_fine_tuning, features=folder / "features")
    shared: dict[str, Any] = {"seed": arguments.seed, "device": arguments.device, "epochs": arguments.epochs}
    few = TrainOptions(init_from=arguments.init_from, overrides=tuple(arguments.set), **shared)
    scratch = TrainOptions(config=arguments.config, overrides=tuple(arguments.set_scratch), **shared)
    made = {
        "probe": lambda: _way("probe", data, few, partial(tune, until="probe"), chooses=False),
        "fine-tuned": lambda: _way("fine-tuned", data, few, tune, chooses=True),
        "from nothing": lambda: _way("from nothing", data, scratch, continue_training, chooses=None),
    }
    return [made[name]() for name in WAYS if name in arguments.ways]


def _way(
    name: str, data: str, options: TrainOptions, train: Callable[[RunConfig], Path], *, chooses: bool | None
) -> Way:
    return Way(name=name, run=requested_run(data, options, weights_may_lack=False), train=train, chooses=chooses)


def measure(way: Way, *, folder: Path, folds: int) -> CrossValidation:
    """Cross-validate a way, or go on with it."""
    run = replace(way.run, output=str(folder))
    resume = (folder / "folds").exists()
    return cross_validate(run, num_folds=folds, train=way.train, chooses=way.chooses, resume=resume, on_message=_note)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def row_of(data: str, way: str, found: CrossValidation) -> dict[str, Any]:
    """A line of the result."""
    evaluation = found.evaluation
    return {
        "data": data,
        "way": way,
        "top1": evaluation.top1,
        "top1_interval": list(evaluation.top1_interval),
        "num_videos": evaluation.num_videos,
        "num_groups": evaluation.num_groups,
        "folds": [fold.top1 for fold in found.folds],
        "chance": found.chance,
        "majority": found.majority,
        "minutes": round(found.seconds / 60, 2),
        "protocol": evaluation.protocol,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The table."""
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, torch {result['torch']}, timesformer {machine['timesformer']}; "
        f"{result['folds']} folds over groups, weights {Path(result['init_from']).name}; minutes for all folds.",
        "",
        "| data | way | top-1 | 95 % interval | worst and best fold | majority | minutes |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in result["rows"]:
        folds = f"{min(row['folds']):.1%}, {max(row['folds']):.1%}"
        cells = [
            f"{row['data']} ({row['num_videos']} videos, {row['num_groups']} groups)",
            row["way"],
            f"{row['top1']:.1%}",
            format_interval(*row["top1_interval"]),
            folds,
            f"{row['majority']:.1%}",
            f"{row['minutes']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def run_benchmark(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every way on every data set."""
    import torch

    rows = []
    for number, data in enumerate(arguments.data):
        folder = Path(arguments.output).expanduser() / f"{number}"
        for way in ways_of(data, arguments, folder=folder):
            _note(f"{data}: {way.name}")
            found = measure(way, folder=folder / way.name.replace(" ", "_"), folds=arguments.folds)
            rows.append(row_of(data, way.name, found))
    return {
        "machine": describe_machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "init_from": arguments.init_from,
        "folds": arguments.folds,
        "seed": arguments.seed,
        "set": arguments.set,
        "config": str(arguments.config or ""),
        "set_scratch": arguments.set_scratch,
        "rows": rows,
    }


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", help="labeled videos, as `timesformer train` reads them")
    parser.add_argument("--init-from", required=True, help="weights of probe and fine-tuning")
    parser.add_argument("--output", default="runs/few_videos", help="folder of the runs and the result")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="epochs of every way (default: those of `train`)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of probe and fine-tuning")
    parser.add_argument("--config", type=Path, help="config of the runs from nothing")
    parser.add_argument("--set-scratch", nargs="*", default=[], metavar="KEY=VALUE", help="settings of those runs")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, and write the table."""
    arguments = parse()
    try:
        result = run_benchmark(arguments)
        for name, text in (("json", json.dumps(result, indent=1) + "\n"), ("md", as_markdown(result))):
            path = Path(arguments.output).expanduser() / f"few_videos.{name}"
            with writing(path), replacing(path) as partial_path:
                partial_path.write_text(text, "utf-8")
    except TimeSformerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(as_markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
