"""Data sets that are made: motion clips, and videos played backwards."""
