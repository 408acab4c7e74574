"""`timesformer train` of a run with a probe: the frozen model with a linear head, then fine-tuning from that head."""

from pathlib import Path

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.measures import baseline_lines
from timesformer.config.run import RunConfig
from timesformer.errors import ConfigError
from timesformer.evaluation.process_group import ProcessGroup
from timesformer.fine_tuning.folder import ProbeFolder
from timesformer.fine_tuning.result import Candidate, FineTuned, Until
from timesformer.fine_tuning.run import fine_tune


def refuse_until(run: RunConfig, *, until: Until) -> None:
    """Refuse `--until probe` for a run without a probe.

    Raises:
        ConfigError: It is given.
    """
    if until == "probe" and not run.probe_views:
        raise ConfigError(
            "--until probe has no effect on a run without a probe: give the weights with --init-from and leave out "
            "--config, or set probe_views"
        )


def refuse_without_probe(run: RunConfig, *, until: Until) -> None:
    """Refuse a run without a probe if `--until probe` is given, or in the folder of a run with a probe.

    Raises:
        ConfigError: One of them is so.
    """
    refuse_until(run, until=until)
    if ProbeFolder(Path(run.output).expanduser()).holds_probe():
        raise ConfigError(f"--output {run.output} holds a run with a probe: name another folder")


def refuse_ranks_with_probe(run: RunConfig, group: ProcessGroup | None) -> None:
    """Refuse several processes, of which a probe uses one.

    Raises:
        ConfigError: There are several.
    """
    if group is not None and group.process.num_processes > 1:
        raise ConfigError(
            f"probe_views={run.probe_views}: a run with a probe computes in one process, not in "
            f"{group.process.num_processes}: start it without torchrun or srun, or leave out the probe: "
            "--set probe_views=0"
        )


def train_with_probe(run: RunConfig, *, until: Until, overwrite: bool, resume: bool, as_json: bool) -> int:
    """Run it, and print what was measured.

    Raises:
        TimeSformerError: As `fine_tune`.
    """
    result = fine_tune(run, until=until, overwrite=overwrite, resume=resume, progress=progress)
    if as_json:
        print_json(result.to_dict())
        return 0
    note(_summary(result))
    print(result.folder)
    if until == "probe":
        note(f"fine-tune it: timesformer train --resume --output {result.folder}")
    note(f"try it: timesformer predict VIDEO --model {result.folder}")
    return 0


def _summary(result: FineTuned) -> str:
    tuned = result.fine_tuned
    lines = [_line("probe", result.probe), *([] if tuned is None else [_line("fine-tuned", tuned)])]
    lines += [baseline_lines(result.baselines), f"kept               {result.kept.way}"]
    return "\n".join([*lines, f"page               {result.folder}/report.html"])


def _line(name: str, candidate: Candidate) -> str:
    evaluation = candidate.evaluation
    return (
        f"{name:<19}{evaluation.top1:.1%}  95 % interval {evaluation.describe_interval()}, "
        f"{candidate.minutes:.1f} minutes"
    )
