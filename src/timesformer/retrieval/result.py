"""What a search finds."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """A row of an index, as similar to the query as `similarity` says."""

    rank: int
    """From 1 for the most similar row."""
    similarity: float
    """Cosine of the angle between the two embeddings, -1 to 1."""
    id: str
    """Id of the row; its number, from 0, in files without a column `id`."""
    path: str
    """Path of the video as it was embedded; empty in files without a column `path`."""
    start: float | None
    """Start of the segment in seconds; None for a whole video."""
    end: float | None
    """End of the segment in seconds; None for a whole video."""
    label: str | None
    """Class that the model predicted when it embedded the video; None if the files do not say."""
    true_label: str | None
    """Class of the video in its manifest; None without one."""
    row: int
    """Number of the row in the index, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The rows of an index that are most similar to a query, in descending order of similarity."""

    query: str
    """Id or path of the query; empty for a vector."""
    neighbors: tuple[Neighbor, ...]
    num_rows: int
    """Rows of the index."""
    num_searched: int
    """Rows that could be found: those that meet the conditions, without those that were left out."""
    num_left_out: int
    """Rows that were left out because they are the query, or from its video."""
    num_ties: int
    """Further rows exactly as similar as the last neighbor."""
    is_exact: bool
    """False for a result of the approximate index, which may miss a neighbor."""
    model_sha256: str
    """Hash of the weights that made the embeddings; empty if the files do not say."""
    level: str
    """`cls` or `frame`; empty if the files do not say."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, strings and lists, ready for JSON."""
        return asdict(self)
