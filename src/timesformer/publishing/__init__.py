"""Publishing a model on a hub, with its card."""
