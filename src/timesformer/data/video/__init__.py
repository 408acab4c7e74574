"""One video: a path to frames."""
