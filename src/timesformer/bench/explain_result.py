"""The result of `timesformer bench explain`: a table for each model, and what each method reaches over all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from timesformer.bench.explain_measures import MEASURES, Mean
from timesformer.bench.result import describe_machine
from timesformer.data.synthetic.planted import Evidence

GOALS: Mapping[str, float] = {"pointing": 0.95, "mass": 0.6, "ratio": 10.0, "frame": 0.95}
"""Least mean of each measure that a good method reaches with every model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method or null map with one model."""

    name: str
    is_null: bool
    """Whether the map knows no model."""
    measures: Mapping[str, Mean]
    """By the names of `MEASURES`; those that do not apply are absent."""
    milliseconds: float | None
    """Median time of a map; None for a null map."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        measures = {name: mean.to_dict() for name, mean in self.measures.items()}
        return {"name": self.name, "null_map": self.is_null, "milliseconds": self.milliseconds, **measures}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All methods with one model."""

    scheme: str
    evidence: Evidence
    num_drawn: int
    """Test clips."""
    num_correct: int
    """Clips that the model classifies correctly."""
    num_explained: int
    """Of these, clips that it misclassifies once the evidence is hidden; all measures are means over them."""
    share: float
    """Fraction of the volume's patches that contain evidence: pointing at random hits it as often."""
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "scheme": self.scheme,
            "evidence": self.evidence,
            "accuracy": self.num_correct / self.num_drawn,
            "drawn": self.num_drawn,
            "correct": self.num_correct,
            "explained": self.num_explained,
            "share": self.share,
            "rows": [row.to_dict() for row in self.rows],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainResult:
    """Tables of all models."""

    tables: tuple[Table, ...]
    settings: Mapping[str, Any]
    seconds: float

    def summary(self) -> dict[str, dict[str, Any]]:
        """For each method: mean of each measure over the models, least of those with a goal, and verdict."""
        rows: dict[str, list[Row]] = {}
        for table in self.tables:
            for row in table.rows:
                rows.setdefault(row.name, []).append(row)
        return {name: _summarize(own) for name, own in rows.items()}

    def to_dict(self) -> dict[str, Any]:
        """The result and the machine, ready for JSON."""
        return {
            "bench": "explain",
            "machine": describe_machine(),
            "settings": dict(self.settings),
            "seconds": self.seconds,
            "measures": dict(MEASURES),
            "goals": dict(GOALS),
            "summary": self.summary(),
            "tables": [table.to_dict() for table in self.tables],
        }


def _summarize(rows: list[Row]) -> dict[str, Any]:
    means = {
        name: [row.measures[name].mean for row in rows if name in row.measures]
        for name in MEASURES
        if any(name in row.measures for row in rows)
    }
    least = {name: min(means[name]) for name in GOALS}
    return {
        "mean": {name: fmean(values) for name, values in means.items()},
        "least": least,
        "meets_goals": all(least[name] >= goal for name, goal in GOALS.items()),
    }
