"""Names of the kinds of heads."""

from typing import Literal

HeadKind = Literal["linear", "attentive"]
