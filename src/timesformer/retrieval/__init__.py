"""Embeddings of videos: written, searched, mapped and learned from."""
