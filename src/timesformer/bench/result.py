"""The result of a benchmark: numbers, settings, machine and versions."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from timesformer._version import __version__
from timesformer.bench.timing import RunTimes, speedup
from timesformer.device import processor_name

_PACKAGES = ("torch", "transformers", "onnxruntime", "timesformer-pytorch", "av", "torchcodec", "decord", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """The result of a benchmark.

    Attributes:
        name: The word after `timesformer bench`, or the name of a script.
        title: What was compared, as a heading.
        settings: What all candidates have in common, such as the model and the clip.
        times: Seconds of each candidate; empty if only memory was measured.
        ours: The candidate that the others are compared with.
        compared_with: For a candidate that is compared with another one than `ours`, such as on another file, the
            name of that one.
        details: More numbers of each candidate, such as its peak memory or its GFLOP/s.
        max_difference: Largest difference between each candidate's output and ours, if outputs are compared.
        unavailable: Candidates that could not run here, and the reason.
        notes: Lines below the table.
    """

    name: str
    title: str
    settings: Mapping[str, Any]
    times: Mapping[str, RunTimes]
    ours: str
    compared_with: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    max_difference: Mapping[str, float] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The result and the machine, ready for JSON."""
        names = [*self.times, *(name for name in self.details if name not in self.times)]
        references = {name: self.compared_with.get(name, self.ours) for name in self.times}
        return {
            "bench": self.name,
            "title": self.title,
            "machine": describe_machine(),
            "settings": dict(self.settings),
            "candidates": {
                name: {
                    **(self.times[name].to_dict() if name in self.times else {}),
                    **self.details.get(name, {}),
                }
                for name in names
            },
            "speedup_of_ours": {
                name: speedup(self.times[ours], self.times[name])
                for name, ours in references.items()
                if ours in self.times and ours != name
            },
            "max_difference": dict(self.max_difference),
            "unavailable": dict(self.unavailable),
            "notes": list(self.notes),
        }


def _gpu() -> dict[str, str]:
    """The name of the GPU, if torch is loaded and has one."""
    torch = sys.modules.get("torch")
    return {"gpu": torch.cuda.get_device_name()} if torch is not None and torch.cuda.is_available() else {}


def describe_machine() -> dict[str, Any]:
    """Processor, cores and the versions of all packages that a benchmark may run."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        **_gpu(),
        "python": platform.python_version(),
        "timesformer": __version__,
        **versions,
    }
