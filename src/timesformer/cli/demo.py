"""`timesformer demo`"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.demo_page import when_section, where_section, write_long_video
from timesformer.cli.measures import summary
from timesformer.cli.options import DATA, OPTIMIZATION, OUTPUT_NAMES, AllowCodecs, AsJson, Overwrite
from timesformer.cli.run_config import run_from_preset, with_codecs
from timesformer.config.run import RunConfig
from timesformer.data.synthetic.dataset import write_clip, write_motion_dataset
from timesformer.data.synthetic.motion import OPPOSITES, render_clip
from timesformer.errors import ConfigError
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.report.page import write_report
from timesformer.evaluation.result import Evaluation, write_predictions
from timesformer.inference.predictor import Predictor
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import check_folder, refuse_existing
from timesformer.training.dataloaders import validation_of
from timesformer.training.train import is_finished, train
from timesformer.weights.load import load

_PAIRS = ("move_left", "move_up", "shrink", "vanish")
CLASSES = tuple(name for first in _PAIRS for name in (first, OPPOSITES[first]))
"""Four pairs of motions, each the other played backwards."""

_CLIP_SECONDS = 0.5
"""Length of a synthetic clip: 8 frames at 16 a second."""

_TABLE, _PAGE = "predictions.csv", "index.html"
_UNSEEN_SEED = 2**31
"""Far from the seeds of the training and validation clips."""


@dataclass(frozen=True)
class _Task:
    """A run to train, its title, and a video to try the result on."""

    run: RunConfig
    title: str
    unseen: str
    expected: str = ""
    long_video: str = ""


def demo(
    *,
    data: Annotated[str, Parameter(group=DATA, metavar="FOLDER")] = "",
    clips_per_class: Annotated[int | None, Parameter(group=DATA)] = None,
    allow_codecs: AllowCodecs = (),
    epochs: Annotated[int | None, Parameter(group=OPTIMIZATION)] = None,
    seed: Annotated[int, Parameter(group=OPTIMIZATION)] = 0,
    output: Annotated[Path, OUTPUT_NAMES] = Path("runs/demo"),
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Make videos, train, evaluate and predict: all of it in minutes.

    Writes a page with the results. Without `--data`, the videos are small synthetic clips of motions, in pairs that
    only the order of frames tells apart. A finished run is not trained again.

    Example: `timesformer demo`, then open runs/demo/index.html

    Parameters
    ----------
    data
        Your own videos: a folder with one subfolder per class.
    clips_per_class
        Synthetic training clips per class, plus one sixth as many for validation; not with `--data` (default: 150).
    epochs
        Passes over the training videos (default: 14, or 30 with `--data`).
    seed
        Random seed of the clips and of training.
    output
        Folder of the run.
    """
    if data and clips_per_class is not None:
        raise ConfigError(f"--clips-per-class {clips_per_class} has no effect with --data, which brings its own videos")
    if allow_codecs and not data:
        raise ConfigError("--allow-codec has no effect on synthetic videos: name yours with --data")
    count = 150 if clips_per_class is None else clips_per_class
    files = output / _TABLE, output / _PAGE
    check_folder(output)
    if not (output / "config.toml").exists():
        refuse_existing(*files, overwrite=overwrite)
    task = _own_videos(data, output, epochs, seed) if data else _synthetic(output, epochs, seed, count)
    task = replace(task, run=with_codecs(task.run, allow_codecs))
    if is_finished(task.run) and not overwrite:
        note(f"{output} is already trained; --overwrite trains it again")
    else:
        refuse_existing(*files, overwrite=overwrite)
        train(task.run, resume=not overwrite and (output / "config.toml").exists(), overwrite=overwrite)
    model = load(output)
    result = _evaluate(task, model, output, overwrite=overwrite)
    predictor = Predictor(model, allow_codecs=allow_codecs)
    prediction = predictor(task.unseen or result.predictions[0].path, top_k=3)
    if json:
        print_json({"run": str(output), "top1": result.top1, "prediction": prediction.to_dict()})
        return
    expected = f" (true: {task.expected})" if task.expected else ""
    best, probability = prediction.labels[0], prediction.probabilities[0]
    print(summary(result))
    print(f"prediction         {best} {probability:.0%} for {prediction.path}{expected}")
    print(f"page               {output / _PAGE}")


def _synthetic(output: Path, epochs: int | None, seed: int, clips_per_class: int) -> _Task:
    with progress("writing videos", unit="clips") as on_progress:
        folder = write_motion_dataset(
            output / "data",
            clips_per_class=clips_per_class,
            val_clips_per_class=max(1, clips_per_class // 6),
            classes=CLASSES,
            num_frames=8,
            size=32,
            background="dark",
            seed=seed,
            on_progress=on_progress,
        )
    unseen, expected = output / "data" / "unseen.mp4", CLASSES[seed % len(CLASSES)]
    if not unseen.exists():
        write_clip(unseen, render_clip(expected, seed=_UNSEEN_SEED + seed, num_frames=8, size=32, background="dark"))
    long_video = output / "data" / "long.mp4"
    if not long_video.exists():
        write_long_video(long_video, CLASSES, seed=_UNSEEN_SEED + seed, size=32)
    run = run_from_preset("tiny")
    run = replace(
        run,
        clip=replace(run.clip, test_scale=1.0),
        data=replace(run.data, train=str(folder), scale_range=(1.0, 1.2), cache=True, num_workers=0),
        optim=replace(run.optim, lr=2e-3),
        epochs=14 if epochs is None else epochs,
        seed=seed,
        output=str(output),
    )
    return _Task(run, "A tiny divided TimeSformer on synthetic motions", str(unseen), expected, str(long_video))


def _own_videos(data: str, output: Path, epochs: int | None, seed: int) -> _Task:
    run = run_from_preset("small")
    run = replace(
        run,
        data=replace(run.data, train=data),
        epochs=run.epochs if epochs is None else epochs,
        seed=seed,
        output=str(output),
    )
    return _Task(run, f"A small divided TimeSformer on {data}", unseen="")


def _evaluate(task: _Task, model: TimeSformer, output: Path, *, overwrite: bool) -> Evaluation:
    """Evaluate on the validation videos of the run; an existing table and page of a finished run are kept."""
    codecs = task.run.data.allow_codecs
    with progress("evaluating") as on_progress:
        result = evaluate(model, validation_of(task.run), num_workers=0, on_progress=on_progress, allow_codecs=codecs)
    table, page, curve = output / _TABLE, output / _PAGE, output / "curve.png"
    if overwrite or not table.exists():
        write_predictions(result, table, overwrite=overwrite)
    if overwrite or not page.exists():
        sections = _where_and_when(task, model, result)
        write_report(
            result,
            page,
            model=model,
            title=task.title,
            curve=curve,
            sections=sections,
            overwrite=overwrite,
            allow_codecs=codecs,
        )
    return result


def _where_and_when(task: _Task, model: TimeSformer, result: Evaluation) -> list[str]:
    """Further sections of the page: explanations, and the timeline of the long video if there is one."""
    sections = [where_section(result, model, allow_codecs=task.run.data.allow_codecs)]
    if task.long_video:
        sections.append(when_section(Path(task.long_video), model, window=_CLIP_SECONDS))
    return sections
