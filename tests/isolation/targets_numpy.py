"""A target whose import takes more memory than some limits."""

import numpy as np


def ready():
    """Allocate some bytes."""
    return lambda size: np.ones(size, dtype=np.uint8).size
