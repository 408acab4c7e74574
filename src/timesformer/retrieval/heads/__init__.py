"""Heads trained on frozen features: linear or attentive classifiers of the rows of a Parquet table of embeddings."""
