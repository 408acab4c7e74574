"""Devices and precisions by name, and the processor: its name, and which instructions it computes with."""

import logging
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from timesformer.errors import ConfigError

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Floating-point types by the name of their precision."""
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "could not create a primitive",  # oneDNN, for a convolution without memory for its scratch space
    "MPS backend out of memory",
)
"""What torch says in a plain `RuntimeError`."""


@dataclass(frozen=True, slots=True)
class Processor:
    """What of a CPU decides how a model is computed on it."""

    is_known: bool = False
    """Whether the system describes it; if not, it may have instructions that are not claimed here."""
    is_intel: bool = False
    """Whether Intel made it: MKL computes with AVX-512 on no other."""
    avx512: bool = False
    avx512_bf16: bool = False
    amx_bf16: bool = False
    arm_bf16: bool = False

    @property
    def has_bf16(self) -> bool:
        """Whether it multiplies matrices in bf16, which is faster than in fp32."""
        return self.avx512_bf16 or self.amx_bf16 or self.arm_bf16


@cache
def processor() -> Processor:
    """The CPU of this machine; nothing is claimed about one that the system does not describe."""
    flags = set(" ".join(_cpu_info("flags") + _cpu_info("Features")).split())
    return Processor(
        is_known=bool(flags),
        is_intel="GenuineIntel" in (_cpu_info("vendor_id") or [platform.processor()])[0],
        avx512="avx512f" in flags,
        avx512_bf16="avx512_bf16" in flags,
        amx_bf16="amx_bf16" in flags,
        arm_bf16="bf16" in flags,
    )


def computes_bf16_faster(device: torch.device) -> bool:
    """Whether the hardware of a device computes bf16 faster than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and processor().has_bf16


def resolve_precision(
    name: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device
) -> Literal["fp32", "bf16", "fp16"]:
    """The precision of a name: `auto` is `bf16` on a device that computes it faster than fp32, and `fp32` on others."""
    if name == "auto":
        return "bf16" if computes_bf16_faster(device) else "fp32"
    return name


def warn_if_slow(precision: Literal["fp32", "bf16", "fp16"], device: torch.device) -> None:
    """Warn, once in a process, of bf16 on a CPU that is known to have no instructions for it."""
    if precision == "bf16" and device.type == "cpu" and processor().is_known and not processor().has_bf16:
        _warn_of_bf16()


@cache
def _warn_of_bf16() -> None:
    logger.warning(
        "precision='bf16': this CPU has no instructions for it and computes it several times more slowly than 'fp32'; "
        "'auto' takes the faster one"
    )


def processor_name() -> str:
    """The system's name of the processor."""
    return (_cpu_info("model name") or [platform.processor() or platform.machine()])[0]


def _cpu_info(field: str) -> list[str]:
    """Values of a field of `/proc/cpuinfo`, one for each core; empty where there is no such file."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field]


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
