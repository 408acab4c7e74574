"""Explanations: which patches and frames of a clip speak for a class."""
