"""`timesformer timeline`"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import (
    DATA,
    DEFAULT_MODEL,
    LIST,
    MODEL,
    NO_JOB,
    OUTPUT,
    OUTPUT_NAMES,
    PREDICT_COMPUTE,
    AsJson,
    Job,
    ListFile,
    Model,
    Overrides,
    Overwrite,
    PredictCompute,
    choice,
    compute_options,
    given_model,
    model_overrides,
)
from timesformer.cli.streams import STDIN
from timesformer.cli.timeline_job import refuse_files, run_timelines
from timesformer.cli.timeline_live import Stream, watch
from timesformer.cli.timeline_text import gap_text, segment_text
from timesformer.data.video.byte_source import Readable
from timesformer.data.video.live import is_live
from timesformer.data.video.tar_member import is_there
from timesformer.errors import ConfigError, did_you_mean
from timesformer.outputs import check_files, check_folder, writing
from timesformer.timelines.curves_file import CURVES_FILE, read_curves, save_curves
from timesformer.timelines.decision import Mode, decide_again
from timesformer.timelines.formats import FORMATS
from timesformer.timelines.formats.write import write
from timesformer.timelines.run import timeline as run_timeline
from timesformer.timelines.thresholds import Threshold
from timesformer.timelines.timeline import Source, Timeline

_STDIN = "-"


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """When a class begins and ends. Each value is a number, or numbers of single classes: `wave=0.8,clap=0.7`."""

    mode: Annotated[str | None, choice("mode", get_args(Mode)), Parameter(metavar="MODE")] = None
    """`exclusive`, one label at a time (default), or `overlapping`, each class by itself."""
    onset: Annotated[tuple[str, ...], LIST, Parameter(metavar="P")] = ()
    """Probability at which a segment starts, in overlapping mode (default: of the model, or 0.6)."""
    offset: Annotated[tuple[str, ...], LIST, Parameter(metavar="P")] = ()
    """Probability below which it ends, in overlapping mode (default: of the model, or 0.4)."""
    min_on: Annotated[tuple[str, ...], LIST, Parameter(metavar="SECONDS")] = ()
    """Shortest segment (default: of the model, or half a window)."""
    min_off: Annotated[tuple[str, ...], LIST, Parameter(metavar="SECONDS")] = ()
    """Shortest pause between segments of a class (default: of the model, or half a window)."""

    def thresholds(self) -> dict[str, Any]:
        """The thresholds that were given, as keywords of `timesformer.timelines.run.timeline`.

        Raises:
            ConfigError: One is not a number or a list of numbers of classes.
        """
        given = {"onset": self.onset, "offset": self.offset, "min_on": self.min_on, "min_off": self.min_off}
        return {name: _threshold(f"--{name.replace('_', '-')}", items) for name, items in given.items()}


_DECISION = Decision()
_STREAM = Stream()


def timeline(
    videos: Annotated[tuple[str, ...], Parameter(negative=(), group=DATA)] = (),
    /,
    *,
    list_file: ListFile = None,
    model: Model = DEFAULT_MODEL,
    overrides: Overrides = (),
    window: Annotated[float | None, Parameter(group=MODEL, metavar="SECONDS")] = None,
    stride: Annotated[float | None, Parameter(group=MODEL, metavar="SECONDS")] = None,
    decision: Decision = _DECISION,
    curves: Annotated[str, Parameter(group=DATA, metavar="PATH")] = "",
    stream: Stream = _STREAM,
    compute: PredictCompute = PREDICT_COMPUTE,
    to: Annotated[tuple[str, ...], LIST, Parameter(group=OUTPUT, metavar="FORMAT,...")] = (),
    output: Annotated[str, OUTPUT_NAMES] = "",
    overwrite: Overwrite = False,
    json: AsJson = False,
    job: Job = NO_JOB,
) -> int:
    """Find what happens when in a long video or a live stream.

    The model sees overlapping windows of the video; every frame is decoded once, and memory does not grow with the
    length. One line is printed for each segment.

    Example: `timesformer timeline day.mp4 --model runs/demo --output day --to json,csv,vtt`

    A stream is watched until Ctrl-C: `timesformer timeline rtsp://camera/1 --model runs/demo --output day`

    Other thresholds need no model: `timesformer timeline --curves day/curves.npz --mode overlapping --onset 0.7`

    Many videos, a row for each: `timesformer timeline videos/ --model runs/demo --job jobs/1`

    Parameters
    ----------
    videos
        Video file, folder of frames, video in a tar file, `-` for a video file on stdin, number of a camera (`0`), or
        address of a stream (`rtsp://`, `rtsps://`, `http://`, `https://`, `tcp://`, `udp://`, `srt://`). With `--job`
        any number of files, folders and patterns, as for `predict`.
    window
        Length of a window (default: of the clips that the model was trained on).
    stride
        Distance of windows (default: a quarter of the window).
    curves
        Decide again from the curves that `--output` saved, without VIDEO.
    to
        Formats to write into `--output`: `json` (default), `csv`, `vtt`, `srt`, `eaf`, `activitynet`, `labelstudio`,
        `svg` or `mp4`.
    output
        Folder for the files, and for the curves, `curves.npz`; or one file, if its extension is that of a format.
    """
    settings: dict[str, Any] = {"window": window, "stride": stride, "mode": decision.mode or "exclusive"}
    if job.job:
        refuse_files(to=to, output=output, curves=curves)
        stream.refuse("--job")
        return run_timelines(
            videos, list_file, job, model=given_model(model), settings=settings | decision.thresholds(),
            options=compute_options(compute), overrides=model_overrides(overrides), overwrite=overwrite, as_json=json,
        )  # fmt: skip
    job.refuse_without_job()
    video = _only(videos, list_file)
    is_stream = is_live(video)
    if not is_stream:
        stream.refuse(video)
    saved = None
    if curves:
        _refuse_with_curves(video, model=model, window=window, stride=stride, overrides=overrides, compute=compute)
        saved = read_curves(curves)
    name = _STDIN if is_stream else video if saved is None else _file_name(saved.source)
    target = _Target.of(output, to=to, name=name, curves=curves)
    target.check(overwrite=overwrite, reads=[path for path in (curves, name) if path and path != _STDIN])
    target.refuse_pipe(name)
    if saved is not None:
        found = decide_again(saved, mode=decision.mode, **decision.thresholds())
    else:
        settings |= decision.thresholds()
        chosen, options, keywords = given_model(model), compute_options(compute), model_overrides(overrides)
        if is_stream:
            found = watch(chosen, stream.open(video, options), settings=settings, options=options, keywords=keywords,
                          keep_curves=bool(output), as_json=json)  # fmt: skip
        else:
            with progress("timeline", unit="s") as on_progress:
                found = run_timeline(
                    chosen, _source(video), options=options, **settings, **keywords,
                    on_progress=lambda done, length: on_progress(round(done), round(max(done, length or 0.0))),
                )  # fmt: skip
    target.write(found, overwrite=overwrite, compute=compute)
    if not is_stream:
        _show(found, as_json=json)
    return 0


def _only(videos: Sequence[str], list_file: Path | None) -> str:
    """The one video; empty if none is given.

    Raises:
        ConfigError: There are several.
    """
    if list_file is not None or len(videos) > 1:
        given = f"--list {list_file}" if list_file is not None else f"{len(videos)} videos"
        raise ConfigError(f"{given}: without --job, timeline takes one video; --job DIR writes a row for each")
    video = videos[0] if videos else ""
    return _STDIN if video == STDIN else video


@dataclass(frozen=True, slots=True)
class _Target:
    """The files to write."""

    files: Mapping[str, Path]
    """By format."""
    folder: Path | None
    """Folder to make; None if a single file is written, or none."""
    curves: Path | None = None
    """File of the curves in the folder; None if they are read from it."""

    @classmethod
    def of(cls, output: str, *, to: Sequence[str], name: str, curves: str) -> "_Target":
        for format_ in to:
            if format_ not in FORMATS:
                raise ConfigError(f"--to {format_}: is not one of {', '.join(FORMATS)}{did_you_mean(format_, FORMATS)}")
        if not output:
            if to:
                raise ConfigError(f"--to {','.join(to)} has no effect without --output, the folder to write into")
            return cls({}, None)
        path = Path(output)
        single = None if output.endswith("/") or path.is_dir() else _format_of(path, to=to)
        if single is not None:
            return cls({single: path}, None)
        stem = Path(name).stem if name and name != _STDIN else "timeline"
        files = {format_: path / f"{stem}{FORMATS[format_]}" for format_ in to or ("json",)}
        is_source = bool(curves) and os.path.realpath(path / CURVES_FILE) == os.path.realpath(curves)
        return cls(files, path, None if is_source else path / CURVES_FILE)

    def check(self, *, overwrite: bool, reads: Sequence[str]) -> None:
        """Refuse, before the work, what cannot be written after it.

        Raises:
            ConfigError: A file exists and must not be replaced, is an input, or cannot be written.
        """
        if self.folder is not None:
            check_folder(self.folder)
        files = [*self.files.values(), *filter(None, [self.curves])]
        there = [file for file in files if self.folder is None or self.folder.is_dir()]
        check_files(*there, overwrite=overwrite, reads=[Path(read) for read in reads])

    def refuse_pipe(self, video: str) -> None:
        """Refuse to annotate a video that can be read only once.

        Raises:
            ConfigError: `mp4` is to be written, and the video is `-` or a stream, or is gone.
        """
        if video == _STDIN and "mp4" in self.files:
            raise ConfigError("--to mp4 needs the video as a file: a pipe or a stream can be read only once")
        if "mp4" in self.files and video and not is_there(Path(video).expanduser()):
            raise ConfigError(f"--to mp4 needs the video: {video}: No such file or directory")

    def write(self, found: Timeline, *, overwrite: bool, compute: PredictCompute) -> None:
        """Write the files, and name them."""
        self.refuse_pipe(found.source.path)
        if self.folder is not None:
            with writing(self.folder, error=ConfigError):
                self.folder.mkdir(parents=True, exist_ok=True)
        for format_, path in self.files.items():
            video = found.source.path if format_ == "mp4" else None
            write(
                found, path, to=format_, curves=found.curves, video=video, overwrite=overwrite,
                allow_codecs=compute.allow_codecs,
            )  # fmt: skip
        if self.curves is not None:
            save_curves(found, self.curves, overwrite=overwrite)
        if self.files:
            note(f"written: {self.folder if self.folder is not None else next(iter(self.files.values()))}")


def _format_of(file: Path, *, to: Sequence[str]) -> str | None:
    """The format of a single file, by its extension; None for a folder.

    Raises:
        ConfigError: The extension is that of a file, and `to` asks for others.
    """
    suffixes = {suffix: format_ for format_, suffix in FORMATS.items()} | {".mp4": "mp4"}
    fitting = [suffix for suffix in suffixes if file.suffix and file.name.lower().endswith(suffix)]
    if not fitting:
        return None
    told = suffixes[max(fitting, key=len)]
    if not to or list(to) == [told]:
        return told
    if len(to) == 1 and Path(FORMATS[to[0]]).suffix == file.suffix.lower():
        return to[0]
    raise ConfigError(f"--output {file}: is one file ({told}), but --to asks for {', '.join(to)}; name a folder")


def _file_name(source: Source) -> str:
    """The video of saved curves; `-` if it was none that can be read again."""
    is_video = source.sha256 or is_there(source.path)  # a stream has no hash, nor has a folder of frames
    return source.path if is_video else _STDIN


def _source(video: str) -> str | Readable:
    if not video:
        raise ConfigError("which video? Give VIDEO, - for stdin, or --curves for curves that were saved")
    if video != _STDIN:
        return str(Path(video).expanduser())
    if sys.stdin.isatty():
        raise ConfigError("-: stdin is a terminal; pipe a video into it, or name a file")
    return sys.stdin.buffer


def _refuse_with_curves(video: str, *, model: str, window: float | None, stride: float | None,
                        overrides: Sequence[str], compute: PredictCompute) -> None:  # fmt: skip
    """Refuse what has no effect on curves that exist."""
    given = {
        video: bool(video),
        "--model": model != DEFAULT_MODEL,
        "--window": window is not None,
        "--stride": stride is not None,
        "--set": bool(overrides),
        "options of computing": compute != PREDICT_COMPUTE,
    }
    for name, is_given in given.items():
        if is_given:
            raise ConfigError(f"{name}: has no effect with --curves, which were computed before")


def _threshold(flag: str, items: Sequence[str]) -> Threshold:
    """One number for all classes, or numbers by class name."""
    if not items:
        return None
    parts = [item.rpartition("=") for item in items]
    try:
        if len(parts) == 1 and not parts[0][1]:
            return float(items[0])
        if all(equals and label for label, equals, _ in parts):
            return {label: float(value) for label, _, value in parts}
    except ValueError:
        pass
    raise ConfigError(
        f"{flag} {','.join(items)}: is neither a number nor numbers of classes, such as wave=0.8,clap=0.7"
    )


def _show(found: Timeline, *, as_json: bool) -> None:
    for gap in found.gaps:
        note(gap_text(gap))
    if as_json:
        print_json(found.to_dict())
        return
    width = max((len(segment.label) for segment in found.segments), default=0)
    for segment in found.segments:
        print(segment_text(segment, width=width))
    if not found.segments:
        note("no segments")
