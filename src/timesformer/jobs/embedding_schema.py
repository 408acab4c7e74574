"""The columns and metadata of embeddings in Parquet, for those who write and those who read them."""

from typing import Literal

StoredType = Literal["f16", "f32"]
"""Floating-point type of stored vectors."""

EMBEDDING = "embedding"
"""Column of the vectors."""
PATCHES = "patches"
"""Column of the files of patches, and the tensor in each."""
TOKEN_ORDER = "time,row,column"
"""Order of the patches of a clip, the slowest axis first."""

MODEL_SHA256 = "timesformer.model_sha256"
LEVEL = "timesformer.level"
SHAPE = "timesformer.shape"
"""Shape of an embedding as JSON, the width of the model last."""
TOKENS = "timesformer.token_order"
NORMALIZED = "timesformer.normalized"
"""`false`: vectors have the length that the model gives them."""
SETTINGS = "timesformer.settings"
"""All that, with the weights, decides the rows, as JSON."""
