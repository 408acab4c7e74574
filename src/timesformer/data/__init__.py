"""Video files, data sets of them, and the way from a file to a clip."""
