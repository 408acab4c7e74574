"""Batch jobs: one row per video for millions of videos, in a folder that survives kills."""
