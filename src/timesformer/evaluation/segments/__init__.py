"""Evaluation of timelines on annotated segments."""
