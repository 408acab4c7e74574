"""Write a timeline to a file of any format."""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from timesformer.errors import ConfigError, did_you_mean
from timesformer.files import replacing
from timesformer.outputs import check_files, writing
from timesformer.timelines.annotated import OnProgress, write_annotated
from timesformer.timelines.formats import FORMATS
from timesformer.timelines.formats.activitynet import to_activitynet
from timesformer.timelines.formats.elan import check_xml, to_elan
from timesformer.timelines.formats.json_text import to_json
from timesformer.timelines.formats.label_studio import to_label_studio
from timesformer.timelines.formats.subtitles import to_srt, to_vtt
from timesformer.timelines.formats.table import to_csv
from timesformer.timelines.picture import to_svg
from timesformer.timelines.timeline import Curves, Timeline

_Writer = Callable[[Timeline, Path, Curves | None], str]

_TEXTS: dict[str, _Writer] = {
    "json": lambda timeline, path, curves: to_json(timeline.to_dict()),
    "csv": lambda timeline, path, curves: to_csv(timeline, folder=path.parent),
    "vtt": lambda timeline, path, curves: to_vtt(timeline.segments),
    "srt": lambda timeline, path, curves: to_srt(timeline.segments),
    "eaf": lambda timeline, path, curves: to_elan(timeline, folder=path.parent),
    "activitynet": lambda timeline, path, curves: to_activitynet(timeline),
    "labelstudio": lambda timeline, path, curves: to_label_studio(timeline),
    "svg": lambda timeline, path, curves: to_svg(timeline, curves=curves),
}


def check_formats(names: Iterable[str], *, classes: Iterable[str], has_video: bool) -> None:
    """Refuse, before the work, formats that `write` would refuse after it.

    Args:
        names: Names of formats.
        classes: Class names of the model.
        has_video: Whether the frames can be read again, as those of a file, unlike those of a stream.

    Raises:
        ConfigError: A format is unknown, or `mp4` is asked for without a video.
        DataError: A format cannot express a class name.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigError(f"to={name!r} is not one of {', '.join(FORMATS)}{did_you_mean(name, FORMATS)}")
        if name == "mp4" and not has_video:
            raise ConfigError("to='mp4' needs the video: pass video=..., or leave mp4 out for a stream")
        if name == "eaf":
            for label in classes:
                check_xml(label)


def write(
    timeline: Timeline,
    path: str | os.PathLike[str],
    *,
    to: str,
    curves: Curves | None = None,
    video: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    allow_codecs: Collection[str] = (),
    on_progress: OnProgress | None = None,
) -> None:
    """Write a timeline to a file, which is complete or not written at all.

    Args:
        timeline: The timeline.
        path: The file. Its name may have any extension; `FORMATS` has the usual ones.
        to: Name of the format, one of `FORMATS`.
        curves: Class probabilities, drawn by `svg` and `mp4`, the only formats with curves; None takes those of the
            timeline, if it has some.
        video: Video of the timeline, for `mp4`.
        overwrite: Replace an existing file.
        allow_codecs: Codecs to decode for `mp4`, as in `timesformer.data.video.reader.open_reader`.
        on_progress: For `mp4`, called with the number of frames written and the number in total.

    Raises:
        ConfigError: The format is unknown, `mp4` has no video, or the file exists, is the video or cannot be written.
        DataError: The format cannot express a label, or the video is not that of the timeline.
        DecodeError, CodecError: The video cannot be read.
        TimeSformerError: The disk refused.
    """
    path = Path(path)
    check_formats([to], classes=timeline.classes, has_video=video is not None)
    check_files(path, overwrite=overwrite, reads=[Path(video)] if video is not None else [])
    curves = timeline.curves if curves is None else curves
    text = _TEXTS[to](timeline, path, curves) if to in _TEXTS else None
    with writing(path), replacing(path) as partial:
        if text is not None:
            partial.write_text(text, encoding="utf-8", newline="")
        elif video is not None:
            write_annotated(
                timeline, partial, video=video, curves=curves, allow_codecs=allow_codecs, on_progress=on_progress
            )
