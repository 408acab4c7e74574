"""Timelines: what happens when in a long video or a stream."""
