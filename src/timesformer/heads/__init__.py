"""Heads of frozen features, fitted exactly, their penalty chosen by cross-validation."""
