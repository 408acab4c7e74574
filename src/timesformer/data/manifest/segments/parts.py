"""Parts of a source, named behind its path: `activity_net.json/training`, `session.eaf/actions`, `sessions/actions`."""

from pathlib import Path

from timesformer.data.manifest.folders import is_hidden, list_paths

_SUFFIXES = (".json", ".eaf")


def split_part(source: Path) -> tuple[Path, str]:
    """The existing source and the name of its part; the name is empty for any other path.

    A part is a subset of an ActivityNet file, or a tier of an ELAN file or of a folder of ELAN files.
    """
    if source.exists():
        return source, ""
    above = next((folder for folder in source.parents if folder.exists()), source)
    has_parts = above.suffix.lower() in _SUFFIXES if above.is_file() else above.is_dir() and bool(elan_files(above))
    return (above, source.relative_to(above).as_posix()) if has_parts else (source, "")


def elan_files(folder: Path) -> list[Path]:
    """The ELAN files directly in a folder, sorted.

    Raises:
        DataError: The folder cannot be read.
    """
    paths = (path for path in list_paths(folder) if path.suffix.lower() == ".eaf" and not is_hidden(path.name))
    return [path for path in paths if path.is_file()]
