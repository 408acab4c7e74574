"""Videos below a folder; every other file is counted or named, so that nothing is skipped silently."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timesformer.data.manifest.folders import is_hidden, unreadable
from timesformer.data.video.paths import is_video, parse_frame

REASONS = {
    "misnamed": "videos without a video extension (rename them, such as to clip.mp4)",
    "broken": "broken links",
    "unfinished": "unfinished downloads",
    "unknown": "files without a video extension",
    "pictures": "folders of numbered pictures next to video files, which count as previews",
    "link": "links to a folder that is searched anyway, or to a parent of the link",
    "comment": "lines that look like a video, but are comments, since they start with '#'",
    "no_class": "videos next to the class folders, without a class",
}
"""Reasons why a possible video is passed over, in words."""

_NO_VIDEO = frozenset((
    ".txt", ".csv", ".tsv", ".lst", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".md",
    ".rst", ".html", ".htm", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".log", ".nfo", ".url", ".lnk", ".torrent",
    ".md5", ".srt", ".vtt", ".ass", ".ssa", ".sbv", ".idx", ".lrc", ".xgtf", ".eaf", ".py", ".ipynb", ".sh", ".m",
    ".mat", ".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".h5", ".hdf5", ".db", ".zip", ".tar", ".gz", ".bz2",
    ".xz", ".7z", ".rar", ".tgz", ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".svg", ".heic", ".heif",
    ".avif", ".thm", ".wav", ".mp3", ".m4a", ".aac", ".flac", ".opus", ".wma", ".bak", ".orig", ".sha256",
))  # fmt: skip
"""Lower-case extensions of files that are not videos."""

_MAGIC = (
    (0, (b"\x1aE\xdf\xa3", b"FLV\x01", b"OggS", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"0&\xb2u\x8ef\xcf\x11")),
    (0, (b"GIF8", b"\x06\x0e+4\x02\x05\x01\x01", b"YUV4MPEG2", b"DHAV", b".RMF", b"\x1f\x07\x00", b"DKIF")),
    (0, (b"\x00\x00\x00\x01\x67", b"\x00\x00\x00\x01\x27", b"\x00\x00\x01\x67", b"\x00\x00\x00\x01\x40\x01")),
    (4, (b"moov", b"mdat", b"wide", b"free", b"skip")),
    (8, (b"AVI ", b"AVIX", b"CDXA")),
)
"""Offsets of signatures in video files, and the signatures: containers, then raw streams."""
_STILL_BRANDS = (b"avif", b"heic", b"heix", b"mif1", b"M4A ", b"M4B ")
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".ytdl", ".aria2", ".!qb")
_OWN = ".timesformer"
"""Prefix of the files that `check` keeps next to the videos."""
_NUM_NAMED = 3


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A possible video that is not read."""

    path: Path
    reason: str
    """A key of `REASONS`."""


@dataclass(frozen=True, slots=True)
class Found:
    """Videos and other files below a folder."""

    videos: tuple[Path, ...]
    """Files, or folders of frames; sorted."""
    passed_over: tuple[PassedOver, ...]
    """Possible videos that are not read; sorted."""
    others: Counter[str]
    """Number of other files by extension, in lower case; hidden ones as `hidden`."""


def find_videos_below(folder: Path) -> Found:
    """All videos at any depth below a folder: files of a known extension, or folders of frames without video files.

    Pictures in the folder itself do not make it a video. If there is any video file, folders of frames count as its
    previews. Links to folders are followed, each folder once; hidden folders are not searched.

    Raises:
        DataError: A folder cannot be read; the message names it.
    """
    search = _Search(folder)
    links = search.walk(folder)
    while links:
        links = [deeper for link in links for deeper in search.follow(link)]
    if search.files:
        search.passed_over += (PassedOver(path, "pictures") for path in search.clips)
    passed_over = sorted(search.passed_over, key=lambda passed: passed.path)
    return Found(tuple(sorted(search.files or search.clips)), tuple(passed_over), search.others)


def describe_passed_over(passed_over: Sequence[PassedOver], others: Counter[str], *, root: Path) -> str:
    """One line about what was passed over, with the first names of each kind; empty if nothing was."""
    lines = []
    for reason, meaning in REASONS.items():
        paths = [passed.path for passed in passed_over if passed.reason == reason]
        if paths:
            names = ", ".join(str(_below(path, root)) for path in paths[:_NUM_NAMED])
            more = ", ..." if len(paths) > _NUM_NAMED else ""
            lines.append(f"{meaning}: {len(paths)} ({names}{more})")
    if others:
        lines.append(describe_others(others))
    return f"passed over: {'; '.join(lines)}" if lines else ""


def describe_others(others: Counter[str]) -> str:
    """Counts of files that are not videos: all, and by the most frequent extensions."""
    commonest = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:4]
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in commonest)
    more = ", ..." if len(others) > 4 else ""
    return f"other files: {others.total()} ({kinds}{more})"


def looks_like_video(path: Path) -> bool:
    """Whether a file starts with the signature of a video container; False if it is not a file or unreadable."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # opening a pipe would wait for its writer
        with path.open("rb") as file:
            head = file.read(400)
    except OSError:
        return False
    if head[4:8] == b"ftyp":
        return not head.startswith(_STILL_BRANDS, 8)
    if any(head.startswith(signatures, offset) for offset, signatures in _MAGIC):
        return True
    return any(head[start::step][:2] == b"GG" for start, step in ((0, 188), (4, 192)))


@dataclass(slots=True)
class _Search:
    """Search below one folder; visits each folder once, however many links lead to it."""

    root: Path
    files: list[Path] = field(default_factory=list)
    clips: list[Path] = field(default_factory=list)
    """Folders of frames."""
    passed_over: list[PassedOver] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def walk(self, start: Path) -> list[Path]:
        """Search a folder and its subfolders; return the links to folders found there."""
        links: list[Path] = []
        if not self._seen:
            self._seen = {_identity(path) for path in (start, *start.resolve().parents)}
        for parent, folders, names in os.walk(start, onerror=_refuse):
            paths = [Path(parent, name) for name in sorted(folders) if not self._is_hidden(name)]
            links += (path for path in paths if path.is_symlink())
            own = {path.name: _identity(path) for path in paths if not path.is_symlink()}
            folders[:] = [name for name, identity in own.items() if identity not in self._seen]
            self._seen |= set(own.values())
            self._sort(Path(parent), sorted(name for name in names if not self._is_hidden(name)))
        return links

    def follow(self, link: Path) -> list[Path]:
        """Search the target of a link, unless it is searched anyway."""
        identity = _identity(link)
        if identity in self._seen:
            self.passed_over.append(PassedOver(link, "link"))
            return []
        self._seen.add(identity)
        return self.walk(link)

    def _is_hidden(self, name: str) -> bool:
        if is_hidden(name) and not name.startswith(_OWN):
            self.others["hidden"] += 1
        return is_hidden(name)

    def _sort(self, folder: Path, names: Iterable[str]) -> None:
        videos = [folder / name for name in names if is_video(Path(name))]
        rest = [name for name in names if not is_video(Path(name))]
        self.files += videos
        if folder != self.root and not videos and any(map(parse_frame, rest)):
            self.clips.append(folder)
            rest = [name for name in rest if parse_frame(name) is None]
        for name in rest:
            suffix = Path(name).suffix.lower()
            if suffix in _NO_VIDEO:
                self.others[suffix] += 1
            else:
                self.passed_over.append(PassedOver(folder / name, _reason(folder / name, suffix)))


def _reason(path: Path, suffix: str) -> str:
    if not path.exists():
        return "broken"
    if suffix in _UNFINISHED:
        return "unfinished"
    return "misnamed" if looks_like_video(path) else "unknown"


def _identity(folder: Path) -> tuple[int, int]:
    """Device and inode, equal for all paths to one folder."""
    try:
        status = folder.stat()
    except OSError as error:
        raise unreadable(folder, error) from error
    return status.st_dev, status.st_ino


def _refuse(error: OSError) -> None:
    raise unreadable(Path(error.filename), error) from error


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
