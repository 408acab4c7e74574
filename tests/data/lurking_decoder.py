"""Target of scanning processes in which some names of files do what a faulty decoder may."""

import ctypes
import os
import time

from timesformer.data.check import scan

_FAULTS = {
    "crash": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(3600),
    "swell": lambda: bytearray(2**29),
    "end": lambda: os._exit(1),
}


def open_scans(allow_codecs):
    """As `timesformer.data.check.scan.open_scans`, with faults."""
    usual = scan.open_scans(allow_codecs)

    def scans(paths):
        for path in paths:
            _FAULTS.get(path.stem, lambda: None)()
            yield from usual([path])

    return scans


def open_faults():
    """Has the fault of a file, and nothing else."""
    return lambda path: _FAULTS[os.path.basename(path).removesuffix(".mp4")]()
