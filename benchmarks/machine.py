"""Hardware and versions, for the benchmarks that read video files."""

import os
import platform

import av
import numpy as np

from timesformer import __version__
from timesformer.device import processor_name


def describe_machine() -> dict[str, str | int | None]:
    """Processor, cores and the versions of the libraries that decode."""
    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "av": av.__version__,
        "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
        "numpy": np.__version__,
        "timesformer": __version__,
    }
