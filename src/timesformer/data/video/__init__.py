"""One video: from a path to frames."""
