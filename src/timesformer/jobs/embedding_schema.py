"""The columns and metadata of embeddings in Parquet, for those who write and those who read them."""

from typing import Literal, get_args

Level = Literal["cls", "frame", "patch"]
"""What is embedded: a video, each of its frames, or each patch of each frame."""
LEVELS: tuple[Level, ...] = get_args(Level)
StoredType = Literal["f16", "f32"]
"""Floating-point type of stored vectors."""

EMBEDDING = "embedding"
"""Column of the vectors."""
ERROR = "error"
"""Column of the reason why an item has no vector; null for all others."""
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
