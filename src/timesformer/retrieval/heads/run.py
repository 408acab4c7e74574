"""Configuration of a head's training, as a frozen dataclass."""

import math
from dataclasses import dataclass

from timesformer.config.checks import MOST_SEED, check_choice, check_count, check_utf8, refuse
from timesformer.heads.kind import HeadKind

_VAL_FRACTION = 0.2
_ATTENTION_HEADS = 4
_STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-10, 7))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRun:
    """Training of a head on stored features. The same config and rows give the same head, in whatever order the rows
    are stored.

    Raises:
        ConfigError: A value is out of range, or has no effect.
    """

    features: str = ""
    """Training rows: a folder that `timesformer embed` wrote, or any Parquet file or folder of Parquet files."""
    val: str = ""
    """Validation rows, like `features`; empty holds out `val_groups` or `val_fraction` of the training rows."""
    val_groups: tuple[str, ...] = ()
    """Groups held out for validation."""
    val_fraction: float = _VAL_FRACTION
    """Fraction of each class held out without `val` and `val_groups`, as whole groups if the rows have groups."""
    embedding_column: str = "embedding"
    """Column of the features: a list of numbers."""
    label_column: str = "true_label"
    """Column of the class: text or whole numbers."""
    group_column: str = "group"
    """Column of the person, camera or recording; without it, or without values in it, rows have no groups."""
    head: HeadKind = "linear"
    """`linear`: multinomial logistic regression. `attentive`: learned queries pool the frames of a row by attention
    before it; for rows of shape [frames, channels]."""
    attention_heads: int = _ATTENTION_HEADS
    """Queries of an attentive head, each of which pools its share of the channels."""
    strengths: tuple[float, ...] = _STRENGTHS
    """Strengths of the L2 penalty to choose from by cross-validation; a single one is used as it is."""
    folds: int = 5
    """Folds of the cross-validation, over groups if the rows have groups; at most the number of groups."""
    seed: int = 0
    """Seed of the held-out rows and of the folds."""
    device: str = "auto"
    """Device of the optimization in double precision: `auto` (GPU if available), `cpu`, `cuda` or `cuda:N`."""
    model: str = ""
    """Model that computed the features; it is written with the trained head as a model folder. Empty writes none."""
    output: str = "runs/head"
    """Folder of the run."""

    def __post_init__(self) -> None:
        for name in ("val_groups", "strengths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_choice("head", self.head, HeadKind)
        check_count("attention_heads", self.attention_heads)
        check_count("folds", self.folds, least=2)
        check_count("seed", self.seed, least=0, most=MOST_SEED)
        refuse(not self.output, "output is empty: name a folder for the run")
        self._check_strengths()
        self._check_split()
        for name in ("features", "val", "model", "output"):
            check_utf8(name, getattr(self, name))
        refuse(
            self.head == "linear" and self.attention_heads != _ATTENTION_HEADS,
            f"attention_heads={self.attention_heads} has no effect with head='linear'",
        )
        refuse(
            self.head != "linear" and bool(self.model),
            f"model={self.model!r} has no effect with head={self.head!r}: a model folder holds a linear head",
        )
        refuse(self.device.startswith("mps"), f"device={self.device!r} has no double precision: use 'cpu'")

    def _check_strengths(self) -> None:
        refuse(
            not self.strengths or any(not 0 < strength < math.inf for strength in self.strengths),
            f"strengths={self.strengths} must be numbers greater than 0, at least one",
        )
        refuse(len(set(self.strengths)) < len(self.strengths), f"strengths={self.strengths} names one of them twice")

    def _check_split(self) -> None:
        refuse(
            not 0 < self.val_fraction < 1, f"val_fraction={self.val_fraction} must be greater than 0 and less than 1"
        )
        refuse(bool(self.val and self.val_groups), f"val={self.val!r} and val_groups exclude each other: give one")
        given = "val" if self.val else "val_groups" if self.val_groups else ""
        refuse(
            bool(given) and self.val_fraction != _VAL_FRACTION,
            f"val_fraction={self.val_fraction} has no effect with {given}",
        )
