"""Contents of folders; an unreadable folder is an error, not an empty folder."""

from pathlib import Path

from timesformer.errors import DataError

_OF_SYSTEMS = frozenset(("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information"))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or created by an operating system for itself."""
    return name.startswith(".") or name in _OF_SYSTEMS


def list_paths(folder: Path) -> list[Path]:
    """Everything in a folder, sorted.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise unreadable(folder, error) from error


def list_folders(folder: Path) -> list[Path]:
    """Subfolders that are not hidden, sorted.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        return [path for path in list_paths(folder) if path.is_dir() and not is_hidden(path.name)]
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(folder: Path, error: OSError) -> DataError:
    """The error of a folder that cannot be read."""
    return DataError(f"{folder}: the folder cannot be read: {error.strerror}")
