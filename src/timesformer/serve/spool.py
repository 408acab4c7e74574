"""The private folder of uploads, which does not outlive the server: the next one removes what a killed one left."""

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "timesformer-serve-"
_LOCK = "lock"
_UNLOCKED_S = 60.0
"""Age in seconds from which a folder without a lock belongs to nobody; a server locks its own at once."""


@contextmanager
def upload_folder(parent: Path | None = None) -> Generator[Path]:
    """A new folder that only this user can read; removed at the end.

    Args:
        parent: Where to make it; None for the temporary folder of the system (`TMPDIR`).
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # mode 0700
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        _lock(lock)
        uploads = folder / "uploads"
        uploads.mkdir(mode=0o700)
        yield uploads
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def make_again(folder: Path) -> None:
    """Make the folder of uploads again if something has deleted it, as cleaners of temporary folders do.

    Raises:
        OSError: It cannot be made, or somebody else has made it meanwhile.
    """
    for each in (folder.parent, folder):
        with suppress(FileExistsError):
            each.mkdir(mode=0o700)
        if not _is_ours(each):
            raise PermissionError(errno.EPERM, "the folder of uploads belongs to somebody else", str(each))


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of servers of this user that run no longer."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # removed by another server meanwhile
            if _is_ours(folder) and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    return not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == _user()


def _is_abandoned(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _UNLOCKED_S
    try:
        return _lock(lock)
    finally:
        os.close(lock)


def _lock(descriptor: int) -> bool:
    """Lock a file for as long as it is open in this process; False if another process holds the lock."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
