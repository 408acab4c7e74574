"""Upload to the Hugging Face hub."""

from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from timesformer.errors import ConfigError, TimeSformerError
from timesformer.publishing.card import EXAMPLE, PICTURE
from timesformer.weights.model_folder import MODEL_FILES

_MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A published version of a model."""

    name: str
    """Hub id, `owner/name`."""
    commit: str
    """Commit hash, which names this version for good."""
    url: str

    def to_dict(self) -> dict[str, Any]:
        """Plain strings for JSON."""
        return asdict(self)


def upload(
    folder: Path,
    name: str,
    *,
    revision: str | None = None,
    private: bool = False,
    message: str = "Upload a TimeSformer",
    overwrite: bool = False,
) -> Pushed:
    """Upload the files of a folder as one commit, which becomes visible as a whole.

    The token is that of `hf auth login` or of the environment variable HF_TOKEN.

    Args:
        folder: The files; subfolders are left out.
        name: Hub id, `owner/name`; a repository is created if there is none.
        revision: Branch, which is created if there is none; the hub's main branch if None.
        private: Visibility of a repository that is created.
        message: First line of the commit.
        overwrite: Add a version to a repository that holds a model already. Files of an earlier version that this one
            lacks are deleted from the branch; earlier versions stay in the history.

    Raises:
        ConfigError: The name is not a hub id, or the repository holds a model and `overwrite` is False.
        TimeSformerError: The hub cannot be reached or refuses: the token is missing or may not write.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api, branch = HfApi(library_name="timesformer"), revision or _MAIN
    files = sorted(path for path in folder.iterdir() if path.is_file())
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if branch != _MAIN:
            api.create_branch(name, branch=branch, exist_ok=True)
        existing = set(api.list_repo_files(name, revision=branch)) - {".gitattributes"}
        if not overwrite and existing - {"README.md"}:
            raise ConfigError(
                f"{name}: already holds files ({', '.join(sorted(existing)[:3])}): overwrite=True (--overwrite) adds a "
                "version, earlier ones stay in its history"
            )
        obsolete = _of_model(existing) - {path.name for path in files}
        commit = api.create_commit(
            name,
            operations=[
                *(CommitOperationAdd(path.name, path) for path in files),
                *(CommitOperationDelete(path) for path in sorted(obsolete)),
            ],
            commit_message=message,
            revision=branch,
        )
    except HFValidationError as error:
        raise ConfigError(f"{name}: is not a hub id (owner/name): {error}") from error
    except ValueError as error:  # of its check of the card
        raise ConfigError(f"{name}: the Hugging Face hub refuses the card: {error}") from error
    except HfHubHTTPError as error:
        raise TimeSformerError(_refusal(name, error)) from error
    except OSError as error:  # no network
        raise TimeSformerError(f"{name}: the Hugging Face hub cannot be reached ({type(error).__name__})") from error
    return Pushed(name=name, commit=commit.oid, url=str(commit.commit_url))


def _of_model(files: set[str]) -> set[str]:
    """Files at the top of a repository that a version of a model may have."""
    patterns = (*MODEL_FILES, EXAMPLE, PICTURE)
    return {file for file in files if "/" not in file and any(fnmatch(file, pattern) for pattern in patterns)}


def _refusal(name: str, error: Any) -> str:
    status = error.response.status_code if error.response is not None else None
    said = str(getattr(error, "server_message", "") or error).strip().splitlines()
    if status == 401:
        return f"{name}: the Hugging Face hub does not know you: run `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return f"{name}: the Hugging Face hub refuses: the token may not write to {name.partition('/')[0]}"
    return f"{name}: the Hugging Face hub refuses: {said[0] if said else status}"
