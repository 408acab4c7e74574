"""`timesformer train`"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

from cyclopts import Parameter

from timesformer.cli.console import note, print_json
from timesformer.cli.options import DATA, FLAG, OPTIMIZATION, OUTPUT, AsJson, Overwrite, choice
from timesformer.cli.precision_hint import hint_precision
from timesformer.cli.ranks import refuse_ranks, run_in_ranks
from timesformer.cli.run_config import TrainOptions, requested_run, states_precision
from timesformer.cli.streams import say
from timesformer.cli.train_features import HeadOptions, train_on_features
from timesformer.cli.train_fine_tuning import refuse_ranks_with_probe, refuse_without_probe, train_with_probe
from timesformer.cli.train_folds import FoldOptions, check_folds, refuse_study, resumed, train_folds
from timesformer.config.run import RunConfig
from timesformer.data.manifest.inputs import list_files
from timesformer.errors import ConfigError
from timesformer.evaluation.process_group import ProcessGroup, find_process_info
from timesformer.fine_tuning.result import Until
from timesformer.outputs import check_files
from timesformer.retrieval.heads.folder import holds_head
from timesformer.training.augmentation_preview import write_preview
from timesformer.training.dry_run import dry_run_as_dict, format_dry_run, make_dry_run
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train as run_training
from timesformer.weights.load import model_files

_OPTIONS = TrainOptions()
_HEAD = HeadOptions()
_FOLDS = FoldOptions()


def train(
    data: Annotated[str, Parameter(group=DATA)] = "",
    /,
    *,
    options: TrainOptions = _OPTIONS,
    head: HeadOptions = _HEAD,
    until: Annotated[Until, choice("until", get_args(Until)), Parameter(group=OPTIMIZATION)] = "end",
    folds: FoldOptions = _FOLDS,
    resume: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    preview: Annotated[Path | None, Parameter(alias="--sheet", group=OUTPUT)] = None,
    json: AsJson = False,
) -> int:
    """Train or fine-tune a model on your videos.

    DATA is a folder with one subfolder of videos per class (or with `train/` and `val/`, each like that), or an
    annotation file: lines of path and label, csv with a header, or the files of Something-Something v2, UCF101, HMDB51
    or Diving-48. A video is a file, a folder of frames, or in a tar file written by `shard`.

    With `--init-from`, a linear probe of the frozen weights comes first, then fine-tuning from its head; the folder
    keeps the model that is more accurate on the validation videos, and a page shows both.

    With `--features`, a linear or attentive head is trained on the embeddings that `embed` wrote, or on those of any
    other model in a Parquet file, and evaluated: in seconds, without the videos.

    Example: `timesformer train my_videos --output runs/mine --epochs 30`

    Parameters
    ----------
    data
        Training videos.
    until
        `probe` stops after the probe; `--resume` goes on from there.
    resume
        Continue from the last checkpoint in the output folder, with the options of the start or with `--output` alone;
        the run ends with the weights it would have had without the interruption.
    dry_run
        Print a summary and stop: model, data, batch, optimizer, schedule, augmentation, memory and the batch that fits.
        With `--config`, weights and videos need not exist. Exit status 1 if the videos cannot be used.
    preview
        Write an image of augmented training clips and stop.
    """
    if head.features:
        flags = {"--resume": resume, "--dry-run": dry_run, "--preview": preview is not None, **folds.given()}
        flags = {"--until": until != "end", **flags}
        size = find_process_info(os.environ).num_processes
        return train_on_features(
            data, options, head, other=flags, num_processes=size, overwrite=overwrite, as_json=json
        )
    head.refuse_without_features()
    if preview and (dry_run or resume):
        raise ConfigError(f"--preview {preview} only writes an image: leave out --dry-run and --resume")
    has_run = bool(data or options.config or options.model or options.init_from or options.distill_from)
    if resume:
        folds, options = resumed(folds, options, has_run=has_run)
    if any(folds.given().values()):
        other = {"--dry-run": dry_run, "--preview": preview is not None}
        check_folds(folds, process=find_process_info(os.environ), val=options.val, other=other)
        run = requested_run(data, options, weights_may_lack=resume)
        if not (resume or run.probe_views or states_precision(options)):
            hint_precision(run.model, device=run.device)
        return train_folds(run, folds, until=until, resume=resume, overwrite=overwrite, as_json=json)
    if resume and not has_run:
        options = replace(options, config=_config_to_resume(options.output))
    process = find_process_info(os.environ)
    if not (dry_run or preview):
        work = partial(_train, data, options, until=until, resume=resume, overwrite=overwrite, as_json=json)
        return run_in_ranks(process, work)
    if until != "end":
        raise ConfigError(f"--until {until} has no effect with --dry-run or --preview, which train nothing")
    refuse_ranks(process, option="--dry-run" if dry_run else "--preview")
    run = requested_run(data, options, weights_may_lack=True)
    if dry_run:
        return _show_dry_run(run, as_json=json, may_lack_data=options.config is not None)
    assert preview is not None
    image = str(_write_preview(run, preview, config=options.config, overwrite=overwrite))
    _show_result({"preview": image, "sheet": image}, as_json=json)
    return 0


def _train(
    data: str,
    options: TrainOptions,
    group: ProcessGroup | None,
    *,
    until: Until,
    resume: bool,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Train, and print the paths of the result, in rank 0 only."""
    run = requested_run(data, options, weights_may_lack=resume)
    if holds_head(run.output):
        raise ConfigError(f"--output {run.output} holds a head that was trained on features: name another folder")
    refuse_study(run.output)
    if run.probe_views:
        refuse_ranks_with_probe(run, group)
        return train_with_probe(run, until=until, overwrite=overwrite, resume=resume, as_json=as_json)
    refuse_without_probe(run, until=until)
    is_new = overwrite or not RunFolder(Path(run.output).expanduser()).config.exists()
    if is_new and (group is None or group.process.rank == 0) and not states_precision(options):
        hint_precision(run.model, device=run.device)
    folder = run_training(run, overwrite=overwrite, resume=resume, group=group)
    if group is None or group.process.rank == 0:
        _show_result({"run": str(folder), "model": str(folder / "model")}, as_json=as_json)
        if not as_json:
            note(f"try it: timesformer predict VIDEO --model {folder}")
    return 0


def _config_to_resume(output: str) -> Path | None:
    """The config of the run in a folder; None if there is no run."""
    config = RunFolder(Path(output or RunConfig().output).expanduser()).config
    return config if config.exists() else None


def _write_preview(run: RunConfig, preview: Path, *, config: Path | None, overwrite: bool) -> Path:
    preview = preview.expanduser()
    models = (file for source in (run.init_from, *run.distill_from) for file in model_files(source))
    reads = (*list_files(run.data.train, run.data.val), *models, *filter(None, [config]))
    check_files(preview, overwrite=overwrite, reads=reads)
    return write_preview(run, preview)


def _show_dry_run(run: RunConfig, *, as_json: bool, may_lack_data: bool) -> int:
    """Print the dry run and return the exit status, which is 1 if the videos cannot be trained on."""
    summary = make_dry_run(run)
    if as_json:
        print_json(dry_run_as_dict(summary))
    else:
        print(format_dry_run(summary))
    lacks = not summary.data.train or bool(summary.data.missing)
    if lacks and may_lack_data:
        return 0
    missing = f"{', '.join(summary.data.missing)} does not exist" if summary.data.missing else ""
    fault = summary.data.problem or missing
    if fault:
        say(f"error: this run cannot start: {fault}")
    return 1 if fault else 0


def _show_result(paths: dict[str, str], *, as_json: bool) -> None:
    """Print the paths that were written: all of them as JSON, the first one as text."""
    if as_json:
        print_json(paths)
    else:
        print(next(iter(paths.values())))
