"""The model: schemes, blocks, embeddings and their cost."""

from timesformer.model.attention import SCHEMES, Attention, Grid, Scheme
from timesformer.model.cost import Cost, cost
from timesformer.model.timesformer import TimeSformer

__all__ = ["SCHEMES", "Attention", "Cost", "Grid", "Scheme", "TimeSformer", "cost"]
