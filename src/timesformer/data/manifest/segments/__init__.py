"""Segments of videos, as tables and annotation tools name them."""
