"""What names a model: a path, a hub id, a preset or packaged weights, with a revision and a hash if they were given."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from timesformer.errors import ConfigError, WeightsError
from timesformer.files import sha256_of

PACKAGED = ("people",)
"""Names of the model folders that are installed with this package: docs/models/people.md."""
_PACKAGED_FOLDER = Path(__file__).with_name("packaged")
_HUB_ID = r"[\w.-]+/[\w.-]+"
_WITH_REVISION = re.compile(rf"({_HUB_ID})@([\w./-]+)")
_WITH_HASH = re.compile(r"(.*)#sha256=(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A path, hub id, preset or packaged weights; the revision of a hub id; the SHA-256 of the weights file."""

    name: str
    revision: str | None = None
    sha256: str | None = None

    @property
    def path(self) -> Path:
        """The name as a path, which need not exist; that of packaged weights, unless something of their name exists."""
        path = Path(self.name).expanduser()
        return packaged_folder(self.name) if self.name in PACKAGED and not os.path.lexists(path) else path

    @property
    def is_hub_id(self) -> bool:
        """Whether the name can be a hub id: `owner/name`, and nothing of that name exists here."""
        return re.fullmatch(_HUB_ID, self.name) is not None and not self.path.exists()


def packaged_folder(name: str) -> Path:
    """The model folder of packaged weights, by a name of `PACKAGED`."""
    return _PACKAGED_FOLDER / name


def parse_source(text: str | Path, *, revision: str | None = None, sha256: str | None = None) -> ModelSource:
    """Split a source such as `owner/name@revision#sha256=...`.

    A file or folder that exists under the whole text is taken as it is.

    Args:
        text: The source.
        revision: Revision of a hub id, if the text does not state it.
        sha256: Hash of the weights file, if the text does not state it.

    Raises:
        ConfigError: A hash is not 64 hexadecimal digits; or a revision or hash is stated twice.
    """
    name = str(text)
    if not Path(name).expanduser().exists():
        if found := _WITH_HASH.fullmatch(name):
            name, sha256 = found[1], _once("sha256", found[2], sha256, source=text)
        if (found := _WITH_REVISION.fullmatch(name)) and not Path(name).expanduser().exists():
            name, revision = found[1], _once("revision", found[2], revision, source=text)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"sha256={sha256!r} is not a SHA-256 of 64 hexadecimal digits ({text})")
    return ModelSource(name, revision, sha256.lower() if sha256 else None)


def _once(what: str, stated: str, given: str | None, *, source: str | Path) -> str:
    if given is not None:
        raise ConfigError(f"{source} states a {what}, and so does {what}={given!r}: give it once")
    return stated


def check_sha256(path: Path, expected: str, *, stated_by: str) -> None:
    """Refuse a file whose content is not the expected one.

    Raises:
        WeightsError: The SHA-256 differs, or the file cannot be read.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    if found != expected:
        raise WeightsError(f"{path}: its SHA-256 is {found}, but {stated_by} states {expected}")
