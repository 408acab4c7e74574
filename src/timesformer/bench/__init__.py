"""Speed and memory, ours beside what else a user would take: interleaved, on the same inputs, with equal answers."""
