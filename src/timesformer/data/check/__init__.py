"""Check of a data set: damaged files, duplicates, leaks, wrong labels."""
