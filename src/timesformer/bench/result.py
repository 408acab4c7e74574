"""What a benchmark found, with all that is needed to read it: what ran, where, and on which versions."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from timesformer._version import __version__
from timesformer.bench.timing import Timing, speedup
from timesformer.device import processor_name

_PACKAGES = ("torch", "transformers", "onnxruntime", "timesformer-pytorch", "av", "torchcodec", "decord", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A finished benchmark.

    Attributes:
        name: The word after `timesformer bench`.
        title: What was compared, for people.
        setting: What all ways had in common, such as the model and the clip.
        timings: Seconds of each way; may be empty where only memory was measured.
        ours: The way whose speed the ratios are of.
        compared_with: The way of ours that a way is compared with, where it is not `ours`, such as on another file.
        details: More about each way, such as its peak of memory or its GFLOP/s.
        agreement: Largest difference of each way's answer from ours, where answers are compared.
        absent: Ways that could not run here, and why.
        notes: What else a reader must know.
    """

    name: str
    title: str
    setting: Mapping[str, Any]
    timings: Mapping[str, Timing]
    ours: str
    compared_with: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    agreement: Mapping[str, float] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        names = [*self.timings, *(name for name in self.details if name not in self.timings)]
        rivals = {name: self.compared_with.get(name, self.ours) for name in self.timings}
        return {
            "bench": self.name,
            "title": self.title,
            "machine": describe_machine(),
            "setting": dict(self.setting),
            "ways": {
                name: {
                    **(self.timings[name].to_dict() if name in self.timings else {}),
                    **self.details.get(name, {}),
                }
                for name in names
            },
            "speedup_of_ours": {
                name: speedup(self.timings[ours], self.timings[name])
                for name, ours in rivals.items()
                if ours in self.timings and ours != name
            },
            "agreement": dict(self.agreement),
            "absent": dict(self.absent),
            "notes": list(self.notes),
        }


def _gpu() -> dict[str, str]:
    """The GPU, where torch runs and has one."""
    torch = sys.modules.get("torch")
    return {"gpu": torch.cuda.get_device_name()} if torch is not None and torch.cuda.is_available() else {}


def describe_machine() -> dict[str, Any]:
    """Processor, cores and the versions of everything that a benchmark may run."""
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
