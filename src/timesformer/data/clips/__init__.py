"""From frames to model input: sampling, crops, augmentation, datasets of clips."""
