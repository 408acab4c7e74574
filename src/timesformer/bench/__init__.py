"""Benchmarks of speed and memory against other implementations: interleaved, on equal inputs, outputs compared."""
