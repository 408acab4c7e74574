"""`curves.npz`: the curves of a timeline and all that is needed to decide again with other thresholds."""

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from timesformer.bounds import check_expansion
from timesformer.data.video.tar_member import is_there
from timesformer.errors import ConfigError, DataError
from timesformer.files import replacing
from timesformer.outputs import check_files, writing
from timesformer.timelines.json_file import parse_timeline
from timesformer.timelines.timeline import Curves, Source, Timeline

CURVES_FILE = "curves.npz"
_ARRAYS = ("times", "probabilities", "frame_times")


def save_curves(timeline: Timeline, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write the curves of a timeline, for `read_curves`.

    The file holds `times` `[n]`, `probabilities` `[n, k]`, `frame_times` `[frames]`, and the timeline as JSON in
    `timeline`. There, the path of a video that exists is absolute, so that the curves can be read in any folder.

    Raises:
        ConfigError: The timeline has no curves, or the file exists or cannot be written.
        TimeSformerError: The disk refused.
    """
    curves, path = timeline.curves, Path(path)
    if curves is None:
        raise ConfigError("the timeline has no curves to save")
    check_files(path, overwrite=overwrite)
    arrays = {name: getattr(curves, name) for name in _ARRAYS}
    text = json.dumps(replace(timeline, source=_absolute(timeline.source)).to_dict(), allow_nan=False)
    with writing(path), replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, timeline=np.array(text), **arrays)


def _absolute(source: Source) -> Source:
    return replace(source, path=os.path.abspath(source.path)) if is_there(source.path) else source


def read_curves(path: str | os.PathLike[str]) -> Timeline:
    """Read a timeline with its curves.

    Raises:
        DataError: The file cannot be read, or `save_curves` did not write it.
    """
    try:
        _check_archive(path)
        with np.load(path, allow_pickle=False) as file:
            text = str(file["timeline"])
            curves = Curves(**{name: file[name] for name in _ARRAYS})
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or 'is not a file of curves'}") from error
    except (ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, MemoryError) as error:
        raise DataError(f"{path}: is not a file of curves, as `timesformer timeline --output` writes them") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: is a damaged file of curves: {error}") from error
    timeline = parse_timeline(value, where=str(path))
    shape = (len(curves.times), len(timeline.classes))
    if curves.times.ndim != 1 or curves.probabilities.shape != shape or 0 in shape:
        raise DataError(
            f"{path}: is a damaged file of curves: probabilities of {curves.probabilities.shape}, not {shape}"
        )
    return replace(timeline, curves=curves)


def _check_archive(path: str | os.PathLike[str]) -> None:
    """Refuse an archive that unpacks to far more than it holds."""
    with zipfile.ZipFile(path) as archive:
        check_expansion(path, sum(info.file_size for info in archive.infolist()), error=DataError)
