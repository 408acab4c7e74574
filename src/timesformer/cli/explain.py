"""`timesformer explain`"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Parameter

from timesformer.cli.console import print_json, progress
from timesformer.cli.options import (
    DATA,
    DEFAULT_MODEL,
    LIST,
    MODEL,
    OUTPUT_NAMES,
    PREDICT_COMPUTE,
    AsJson,
    Model,
    Overrides,
    Overwrite,
    PredictCompute,
    choice,
    compute_options,
    given_model,
    model_overrides,
)
from timesformer.cli.predict import find_videos
from timesformer.cli.streams import say
from timesformer.data.manifest.inputs import file_of
from timesformer.errors import ConfigError, DecodeError
from timesformer.explanation.explain import Explainer, OnProgress, find_target
from timesformer.explanation.explanation import Explanation, Method
from timesformer.explanation.render import write_clip, write_curve, write_strip
from timesformer.model.rollout import Residual
from timesformer.names import compose
from timesformer.outputs import check_folder, refuse_existing, refuse_inputs, writing
from timesformer.weights.load import model_files

_SUFFIXES = (".mp4", ".gif", ".png", ".svg", ".npz")
_ALL = "all"


def explain(
    paths: Annotated[list[str], Parameter(negative=(), group=DATA)],
    /,
    *,
    model: Model = DEFAULT_MODEL,
    overrides: Overrides = (),
    method: Annotated[Method, choice("method", get_args(Method)), Parameter(group=MODEL)] = "contribution",
    class_: Annotated[str | None, Parameter(name="--class", group=MODEL, metavar="NAME")] = None,
    step: Annotated[tuple[str, ...], LIST, Parameter(group=MODEL, metavar="NAME,...")] = (_ALL,),
    residual: Annotated[Residual | None, choice("residual", get_args(Residual)), Parameter(group=MODEL)] = None,
    compute: PredictCompute = PREDICT_COMPUTE,
    output: Annotated[Path, OUTPUT_NAMES],
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> int:
    """Show which parts of a video a prediction rests on.

    Explains one view of each video: the first clip that `predict` reads, and its center crop. Writes a strip of frames
    with a heat map (`.png`), the same over every frame of the clip (`.mp4`, `.gif`), the curve over time (`.svg`) and
    the numbers (`.npz`). An unreadable video is reported on one line; the others are still explained, and the exit
    status is 1.

    Example: `timesformer explain clip.mp4 --model runs/demo --output explained`

    Parameters
    ----------
    paths
        Videos, folders and patterns, as for `predict`.
    method
        `contribution`: what each patch adds to the logit of a class. `class`: attention times its gradient for one
        class. `rollout`: attention alone; explains no class in particular. `occlusion`: drop of the probability when
        parts are hidden; hundreds of forward passes. Only `occlusion` takes `--batch-size`, `--no-fast`,
        `--compile` and `--precision`.
    class_
        Class to explain, by name or index, instead of the most probable one.
    step
        Attention steps to follow, such as `space`, or `all`; not for `occlusion`.
    residual
        Weight of an attention step against its residual connection, for `rollout`: `half` (default) or `norm`, by
        their norms for each token.
    output
        Folder of the files, which are named like the videos.
    """
    files = _without_output(find_videos(paths), paths, output)
    names = [output / name for name in unique_names(files)]
    _check_output(output, names, reads=(*model_files(model), *map(file_of, files)), overwrite=overwrite)
    explainer = Explainer(
        given_model(model),
        method=method,
        steps=_steps(step),
        residual=residual,
        options=compute_options(compute),
        **model_overrides(overrides),
    )
    target = _target(class_, explainer)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    failures = 0
    with progress("explaining", unit="") as on_progress:
        for index, (path, name) in enumerate(zip(files, names, strict=True)):
            try:
                explanation = explainer(path, target=target, on_progress=_within(index, len(files), on_progress))
                written = list(_write(explanation, name, video=path, allow_codecs=compute.allow_codecs))
            except DecodeError as error:
                failures += 1
                _show_error(path, error, as_json=json)
            else:
                _show(explanation, written, as_json=json)
    if failures:
        say(f"{failures} of {len(files)} videos could not be read")
    return 1 if failures else 0


def unique_names(files: Sequence[Path]) -> list[str]:
    """Names of the files of each video without suffix: its stem, numbered from 2 if another video has it too."""
    names: list[str] = []
    taken: set[str] = set()
    for file in files:
        stem = file.stem if file.name not in ("", "..") else file.resolve().stem
        name, number = stem, 1
        while compose(name).casefold() in taken:  # some disks ignore case and the form of accents
            number += 1
            name = f"{stem}-{number}"
        taken.add(compose(name).casefold())
        names.append(name)
    return names


def _without_output(files: Sequence[Path], paths: Sequence[str], output: Path) -> list[Path]:
    """The videos without those of the output folder, if that is inside a folder that was searched.

    Raises:
        ConfigError: The output folder is one that was searched, or holds all videos.
    """
    searched = [path.resolve() for path in (Path(text).expanduser() for text in paths) if path.is_dir()]
    folder = output.resolve()
    if folder in searched and folder not in (file.resolve() for file in files):  # not a folder of frames
        raise ConfigError(f"--output {output}: is searched for videos, and would get new ones; choose another folder")
    if not any(folder.is_relative_to(each) for each in searched):
        return list(files)
    named = {Path(text).expanduser() for text in paths}
    kept = [file for file in files if file in named or not file.resolve().is_relative_to(folder)]
    if len(kept) < len(files):
        say(f"{output}: files of the output folder are not explained: {len(files) - len(kept)}")
    if not kept:
        raise ConfigError(f"{', '.join(paths)}: no videos besides those in the output folder {output}")
    return kept


def _steps(names: Sequence[str]) -> tuple[str, ...]:
    """Steps to follow; empty for all of them.

    Raises:
        ConfigError: `all` is given with other names.
    """
    if _ALL in names and len(names) > 1:
        raise ConfigError(f"--step {','.join(names)}: `all` includes the others; give it alone, or leave it out")
    return () if _ALL in names else tuple(names)


def _target(name: str | None, explainer: Explainer) -> int | str | None:
    """The class to explain, by name before index."""
    if name is None:
        return None
    labels = map(compose, explainer.info.labels)
    is_index = name.isascii() and name.isdecimal() and name not in labels
    target = int(name) if is_index else name
    return find_target(target, explainer.info, num_classes=explainer.config.num_classes, method=explainer.method)


def _check_output(folder: Path, names: Sequence[Path], *, reads: Sequence[Path], overwrite: bool) -> None:
    """Refuse, before the work, a folder that holds an input or files of these names.

    Raises:
        ConfigError: A file exists and must not be replaced, is an input, or the folder cannot be written to.
    """
    check_folder(folder)
    if any(read.is_dir() and read.resolve() in (folder.resolve(), *folder.resolve().parents) for read in reads):
        raise ConfigError(f"--output {folder}: is a folder of frames that is explained; choose another folder")
    targets = [_with_suffix(name, suffix) for name in names for suffix in _SUFFIXES]
    refuse_inputs(targets, reads)
    refuse_existing(*targets, overwrite=overwrite)


def _with_suffix(name: Path, suffix: str) -> Path:
    return name.with_name(name.name + suffix)  # a stem may contain a dot


def _within(index: int, count: int, on_progress: OnProgress) -> OnProgress:
    """Progress of one of several videos, as that of all."""
    return lambda done, total: on_progress(index * total + done, count * total)


def _write(explanation: Explanation, name: Path, *, video: Path, allow_codecs: Iterable[str]) -> Iterator[Path]:
    """Write all files of an explanation, those that read the video first: if it is damaged, nothing is written."""
    codecs = tuple(allow_codecs)
    writers: dict[str, Callable[[Path], Any]] = {
        ".mp4": lambda path: write_clip(explanation, path, video=video, allow_codecs=codecs),
        ".gif": lambda path: write_clip(explanation, path, video=video, allow_codecs=codecs),
        ".png": lambda path: write_strip(explanation, path),
        ".svg": lambda path: write_curve(explanation, path),
        ".npz": lambda path: explanation.save_npz(path, overwrite=True),
    }
    for suffix in _SUFFIXES:
        path = _with_suffix(name, suffix)
        writers[suffix](path)
        yield path


def _show(explanation: Explanation, files: Sequence[Path], *, as_json: bool) -> None:
    if as_json:
        print_json({**explanation.to_dict(), "files": list(map(str, files))})
    else:
        print(f"{summary(explanation)}; {files[0]}, {', '.join(file.suffix for file in files[1:])}", flush=True)


def summary(explanation: Explanation) -> str:
    """Class, probability and the part of the clip that mattered most, in one line."""
    first, last = explanation.peak
    (start, end), (first_frame, last_frame) = explanation.seconds[[first, last]], explanation.frames[[first, last]]
    is_one = first_frame == last_frame  # several of the view, if the video is shorter than the clip
    place = f"at {start:.2f} s (frame {first_frame})"
    span = f"from {start:.2f} to {end:.2f} s (frames {first_frame} to {last_frame})"
    cls = explanation.cls_fraction
    return (
        f"{explanation.path}: {explanation.label} {explanation.probability:.1%}; half of the relevance lies in "
        f"{last - first + 1} of {len(explanation.frames)} frames, {place if is_one else span}"
        + ("" if cls is None else f"; {cls:.0%} stays in the class token")
    )


def _show_error(path: Path, error: DecodeError, *, as_json: bool) -> None:
    say(f"error: {error}")
    if as_json:
        print_json({"path": str(path), "error": str(error)})
