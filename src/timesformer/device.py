"""Devices and precisions by name, and the name of the processor."""

import platform
from pathlib import Path

import torch

from timesformer.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Floating-point types by the name of their precision."""
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "could not create a primitive",  # oneDNN, for a convolution without memory for its scratch space
    "MPS backend out of memory",
)
"""What torch says in a plain `RuntimeError`."""


def processor_name() -> str:
    """The system's name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device is too small for a tensor."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def resolve_device(name: str) -> torch.device:
    """The device of a name: `auto` is a GPU if there is one, otherwise the CPU.

    Raises:
        ConfigError: The name is not a device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name!r} is not a device; use auto, cpu, cuda, cuda:N or mps") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        present = ", ".join(kind for kind, exists in available.items() if exists)
        raise ConfigError(f"device={name!r} is not available on this machine, which has {present}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name!r} is not available: this machine has {torch.cuda.device_count()} GPUs, from 0"
        )
    return device
