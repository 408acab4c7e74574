"""Frames to model input: sampling, crops, augmentation, data sets of clips."""
