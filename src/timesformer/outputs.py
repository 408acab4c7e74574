"""What a verb may write: nothing that exists unasked, nothing that it reads, and only where it can be written."""

import os
import stat
import tempfile
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path

from timesformer.errors import ConfigError
from timesformer.files import is_stream

_ID = tuple[int, int]


def refuse_existing(*paths: Path, overwrite: bool) -> None:
    """Refuse to replace a file or folder that already exists; a pipe or a device is never replaced.

    Raises:
        ConfigError: One exists, or is a dangling link, and `overwrite` is off.
    """
    there = [str(path) for path in paths if os.path.lexists(path) and not is_stream(path)]
    if there and not overwrite:
        raise ConfigError(f"{', '.join(there)}: already exists; --overwrite (overwrite=True) replaces it")


def refuse_inputs(files: Sequence[Path], reads: Iterable[Path]) -> None:
    """Refuse to replace what is read, whatever name or link leads there.

    Args:
        files: What is to be written.
        reads: What is read: files, and folders of which every file is read. Looked at only if one of `files` exists.

    Raises:
        ConfigError: One of `files` is one of `reads`, or lies in one.
    """
    places = {
        identity: file
        for file in files
        if os.path.exists(file) and not is_stream(file)
        for identity in map(_identity, (file, *Path(os.path.realpath(file)).parents))
    }
    for read in reads if places else ():
        file = places.get(_identity(read))
        if file is not None:
            other = "" if os.path.abspath(read) == os.path.abspath(file) else f", as {read}"
            raise ConfigError(f"{file}: is read by this command{other}: name another file to write")


def check_files(*files: Path, overwrite: bool, reads: Iterable[Path] = ()) -> None:
    """Refuse, before the work, files that could not be written after it.

    Args:
        files: What one command is to write, into folders that exist.
        overwrite: Whether files that exist are replaced.
        reads: As in `refuse_inputs`; never replaced.

    Raises:
        ConfigError: A file exists and must not be replaced, is read, is a folder, or cannot be written, or two of them
            are the same.
    """
    refuse_inputs(files, reads)
    for file in files:
        with _refusing(file):
            _check_file(file, overwrite=overwrite)
    for first, second in combinations(files, 2):
        if not is_stream(first) and _is_same(first, second):
            raise ConfigError(f"{first} and {second}: are one file: name two")


def check_folder(folder: Path) -> None:
    """Refuse, before the work, a folder that could not be made or written to after it.

    Raises:
        ConfigError: There is a file instead of the folder or of one above it, or the disk refuses.
    """
    there = next(path for path in (folder, *Path(os.path.abspath(folder)).parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ConfigError(
            f"{folder}: is a file; name a folder" if there == folder else f"{folder}: cannot be made: {there} is a file"
        )
    with _refusing(folder), tempfile.TemporaryFile(dir=there):
        pass


def _check_file(file: Path, *, overwrite: bool) -> None:
    if str(file) == "-":
        raise ConfigError("-: name a file, or /dev/stdout to write where results are printed")
    if file.is_dir():
        raise ConfigError(f"{file}: is a folder; name a file")
    if is_stream(file):
        if not os.access(file, os.W_OK):
            raise ConfigError(f"{file}: cannot be written: permission denied")
        return
    if _is_open(file):
        raise ConfigError(f"{file}: results or messages are printed there: name another file")
    if _is_special(file):
        raise ConfigError(f"{file}: is not a regular file: name another")
    refuse_existing(file, overwrite=overwrite)
    if not file.parent.is_dir():
        raise ConfigError(f"{file}: cannot be written: there is no folder {file.parent}")
    with suppress(FileNotFoundError), tempfile.TemporaryFile(dir=file.parent):
        file.lstat()  # refuses a name that is too long


@contextmanager
def _refusing(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error


def _is_special(path: Path) -> bool:
    """Whether to replace a path would break more than a file: a socket, a disk, or a link of the system's."""
    is_of_system = Path(os.path.abspath(path)).parent == Path("/dev")
    return is_of_system or (path.exists() and not stat.S_ISREG(path.stat().st_mode))


def _is_open(path: Path) -> bool:
    """Whether a path leads to the file that stdout or stderr go to."""
    own = _identity(path)
    return own is not None and own in map(_identity, (1, 2))


def _is_same(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, or would on a disk that ignores case or the form of accents."""
    if first.exists() and second.exists():
        return first.samefile(second)
    names = [unicodedata.normalize("NFC", path.name).casefold() for path in (first, second)]
    return names[0] == names[1] and first.parent.samefile(second.parent)


def _identity(path: Path | int) -> _ID | None:
    """Device and number of a file; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
