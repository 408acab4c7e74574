"""Training from pretrained weights: a probe of frozen features, then fine-tuning from its head; the better is kept."""
