"""A small file system of its own, which can be full, read-only or gone: a tmpfs in a user and mount namespace."""

import ctypes
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_KILOBYTES = 4096
_HOLD = """
set -e
mount -t tmpfs -o size={size}k none {point}
echo ready
while read -r command; do eval "$command"; echo done; done
"""
_FORBIDDEN = "this machine forbids mounts in user namespaces; sysctl kernel.apparmor_restrict_unprivileged_userns=0"


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of 4 MB, which is there while `_holder` lives."""

    point: Path
    """Its folder, in processes that enter the namespaces."""
    root: Path
    """Its folder, in all other processes."""
    _holder: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """A process in the namespaces."""
        return self._holder.pid

    def fill(self, *, free: int = 0) -> None:
        """Leave a number of free bytes."""
        status = os.statvfs(self.root)
        size = status.f_bavail * status.f_frsize - free
        with open(self.root / ".filler", "ab", buffering=0) as file:
            assert file.write(bytes(size)) == size

    def clear(self) -> None:
        """Free what `fill` took."""
        (self.root / ".filler").unlink()

    def make_read_only(self, name: str = ".") -> None:
        """Make a folder read-only for all files that are opened from now on."""
        folder = self.point / name
        self._do(f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}")

    def vanish(self) -> None:
        """Unmount it, as a share whose server has gone; files that are open stay open."""
        self._do(f"umount -l {self.point}")

    def _do(self, command: str) -> None:
        assert self._holder.stdin is not None and self._holder.stdout is not None
        print(command, file=self._holder.stdin, flush=True)
        assert self._holder.stdout.readline() == "done\n"


@contextmanager
def open_small_disk(point: Path, *, kilobytes: int = _KILOBYTES) -> Generator[SmallDisk]:
    """Mount a small disk at a folder that does not exist yet."""
    point.mkdir()
    script = _HOLD.format(size=kilobytes, point=point)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == "ready\n", _FORBIDDEN
        yield SmallDisk(point, Path(f"/proc/{holder.pid}/root{point}"), holder)
        holder.stdin.close()


def enter_namespaces(pid: int) -> None:
    """Enter the user and the mount namespace of a process; the caller has one thread."""
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is new in Python 3.12
    for name in ("user", "mnt"):
        file = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        if libc.setns(file, 0):
            raise OSError(ctypes.get_errno(), f"namespace {name}")
        os.close(file)
