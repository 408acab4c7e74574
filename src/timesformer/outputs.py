"""Checks before a file is written: nothing is replaced unasked, no input is replaced, and the path is writable."""

import os
import stat
import tempfile
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import combinations
from pathlib import Path

from timesformer.errors import ConfigError, TimeSformerError
from timesformer.files import is_stream

_ID = tuple[int, int]


def refuse_existing(*paths: Path, overwrite: bool) -> None:
    """Refuse to replace an existing file or folder. Pipes and devices are written to, never replaced.

    Raises:
        ConfigError: One exists, or is a dangling link, and `overwrite` is False.
    """
    existing = [str(path) for path in paths if os.path.lexists(path) and not is_stream(path)]
    if existing and not overwrite:
        raise ConfigError(f"{', '.join(existing)}: already exists; pass overwrite=True (--overwrite) to replace it")


def refuse_inputs(files: Sequence[Path], reads: Iterable[Path]) -> None:
    """Refuse to replace an input, under whatever name or link.

    Args:
        files: Files to write.
        reads: Inputs: files, and folders of which every file is read. Used only if one of `files` exists.

    Raises:
        ConfigError: One of `files` is an input, or is inside one.
    """
    targets = {
        identity: file
        for file in files
        if os.path.exists(file) and not is_stream(file)
        for identity in map(_identity, (file, *Path(os.path.realpath(file)).parents))
    }
    for read in reads if targets else ():
        file = targets.get(_identity(read))
        if file is not None:
            other = "" if os.path.abspath(read) == os.path.abspath(file) else f", as {read}"
            raise ConfigError(f"{file}: is an input{other}: choose another file to write")


def check_files(*files: Path, overwrite: bool, reads: Iterable[Path] = ()) -> None:
    """Refuse, before the work, files that cannot be written after it.

    Args:
        files: Files to write, into existing folders.
        overwrite: Replace existing files.
        reads: Inputs, as in `refuse_inputs`; never replaced.

    Raises:
        ConfigError: A file exists and must not be replaced, is an input, is a folder, or cannot be written, or two of
            them are the same.
    """
    refuse_inputs(files, reads)
    for file in files:
        with writing(file, error=ConfigError):
            _check_file(file, overwrite=overwrite)
    for first, second in combinations(files, 2):
        if not is_stream(first) and _is_same(first, second):
            raise ConfigError(f"{first} and {second}: are the same file; choose two")


def check_folder(folder: Path) -> None:
    """Refuse, before the work, a folder that cannot be created or written to after it.

    Raises:
        ConfigError: The folder or a parent is a file, or the disk refuses.
    """
    existing = next(path for path in (folder, *Path(os.path.abspath(folder)).parents) if os.path.lexists(path))
    if not existing.is_dir():
        raise ConfigError(
            f"{folder}: is a file; choose a folder"
            if existing == folder
            else f"{folder}: cannot be created: {existing} is a file"
        )
    with writing(folder, error=ConfigError), tempfile.TemporaryFile(dir=existing):
        pass


@contextmanager
def locked(path: Path, *, message: str) -> Generator[None]:
    """Lock a file against other processes, until this one ends in any way; the file is removed at the end.

    Has no effect on Windows, and on a disk without locks.

    Args:
        path: The file, which is made with its folder.
        message: Message of the error.

    Raises:
        ConfigError: Another process has locked it.
    """
    with ExitStack() as stack:
        with suppress(ImportError, OSError):  # a disk that cannot be written to is reported later
            import fcntl

            path.parent.mkdir(parents=True, exist_ok=True)
            is_ours = False
            while not is_ours:
                file = stack.enter_context(path.open("a"))
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # owned by this process, not by its workers
                except (BlockingIOError, PermissionError) as error:
                    raise ConfigError(message) from error
                is_ours = _identity(path) == _identity(file.fileno())  # its owner may have removed it meanwhile
            stack.callback(path.unlink, missing_ok=True)
        yield


@contextmanager
def writing(path: Path, *, what: str = "", error: type[TimeSformerError] = TimeSformerError) -> Generator[None]:
    """Turn an `OSError` into an error that names the path, and what was to be written there.

    Raises:
        TimeSformerError: Or `error`, for an `OSError`.
    """
    try:
        yield
    except OSError as cause:
        subject = f"{what} " if what else ""
        raise error(f"{path}: {subject}cannot be written: {cause.strerror or cause}") from cause


def _check_file(file: Path, *, overwrite: bool) -> None:
    if str(file) == "-":
        raise ConfigError("-: is not a file; give a path, or /dev/stdout")
    if file.is_dir():
        raise ConfigError(f"{file}: is a folder; choose a file")
    if is_stream(file):
        if not os.access(file, os.W_OK):
            raise ConfigError(f"{file}: cannot be written: permission denied")
        return
    if _is_open(file):
        raise ConfigError(f"{file}: results or messages are printed there; choose another file")
    if _is_special(file):
        raise ConfigError(f"{file}: is not a regular file; choose another")
    refuse_existing(file, overwrite=overwrite)
    if not file.parent.is_dir():
        raise ConfigError(f"{file}: cannot be written: the folder {file.parent} does not exist")
    with suppress(FileNotFoundError), tempfile.TemporaryFile(dir=file.parent):
        file.lstat()  # raises if the name is too long


def _is_special(path: Path) -> bool:
    """Whether a path is a socket, a disk or a system link, which replacing would break."""
    is_of_system = Path(os.path.abspath(path)).parent == Path("/dev")
    return is_of_system or (path.exists() and not stat.S_ISREG(path.stat().st_mode))


def _is_open(path: Path) -> bool:
    """Whether stdout or stderr go to the file of a path."""
    own = _identity(path)
    return own is not None and own in map(_identity, (1, 2))


def _is_same(first: Path, second: Path) -> bool:
    """Whether two paths are the same file, or would be on a disk that ignores case or the form of accents."""
    if first.exists() and second.exists():
        return first.samefile(second)
    names = [unicodedata.normalize("NFC", path.name).casefold() for path in (first, second)]
    return names[0] == names[1] and first.parent.samefile(second.parent)


def _identity(path: Path | int) -> _ID | None:
    """Device and inode of a file; None if it does not exist."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
