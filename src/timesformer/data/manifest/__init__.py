"""Videos of a data set and their classes."""
