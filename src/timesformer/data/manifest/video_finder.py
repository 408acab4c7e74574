"""Paths of videos that an annotation file names without extension."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from timesformer.data.manifest.folders import unreadable
from timesformer.data.video.paths import is_visible_video
from timesformer.names import as_stored, compose

_VIDEO_FOLDERS = ("videos", "20bn-something-something-v2", "frames", "rgb", ".")


@dataclass(slots=True)
class VideoFinder:
    """Finds videos, files or folders of frames, by name without extension; lists each folder once."""

    root: Path
    suffix: str
    home: str = "videos"
    """Folder of the path that is returned if no video is found; its extension is `suffix`."""
    _listings: dict[Path, dict[str, Path]] = field(default_factory=dict)

    def find(self, stems: Sequence[str], *, label: str) -> Path:
        """The first video with one of the names, in the usual folders or their subfolder named after the label."""
        return self.search(stems, label=label) or self.root / self.home / f"{stems[0]}{self.suffix}"

    def search(self, stems: Sequence[str], *, label: str = "") -> Path | None:
        """As `find`; None if no video is found. A name may begin with folders."""
        for name in _VIDEO_FOLDERS:
            for folder in (self.root / name, as_stored(self.root / name / label)):
                for stem in map(compose, stems):
                    parent = (folder / stem).parent if "/" in stem else folder
                    found = self._list(parent).get(stem.rpartition("/")[2])
                    if found is not None:
                        return found
        return None

    def find_bare(self, name: str, *, label: str) -> Path | None:
        """The folder of this path, or the video with this name without extension; None if neither exists."""
        return self.root / name if os.path.isdir(self.root / name) else self.search([name], label=label)

    def has(self, name: str) -> bool:
        """Whether a file or folder of this path exists, or a video with this name without extension."""
        return os.path.lexists(self.root / name) or self.search([name]) is not None

    def _list(self, folder: Path) -> dict[str, Path]:
        if folder not in self._listings:
            self._listings[folder] = dict(_named(folder)) if os.path.isdir(folder) else {}
        return self._listings[folder]


def _named(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names in a folder with their paths; files come last, so that they win over folders."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((not entry.is_dir(), entry.name) for entry in entries)
    except OSError as error:
        raise unreadable(folder, error) from error
    for is_file, name in found:
        path = folder / name
        if not is_file:
            yield compose(name), path
        elif is_visible_video(path):
            yield compose(path.stem), path
