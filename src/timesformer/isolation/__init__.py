"""Functions run in child processes with limits, so that a crash or a hang costs one call."""
