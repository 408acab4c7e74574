"""The steps of `gpu.py`, in order of importance, and the functions that run them in a separate process.

Each step is a function of this module and its arguments; it returns a dictionary for JSON. They need torch, einops,
jaxtyping and numpy. Without `transformers`, or a package that its comparison needs, its rows say so.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EAGER = ("ours block by block", "transformers", "transformers sdpa")
COMPILED = ("ours compiled", "transformers compiled")
TRAINED = ("ours, checkpointed", "ours in plain layers", "transformers", "transformers sdpa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of the run."""

    name: str
    run: str
    """A function of this module."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    budget_s: float
    tf32: bool = False
    """Whether a GPU may round the inputs of fp32 products to TF32."""


def all_steps(*, device: str, model: str, small: str, rounds: int, clips: int) -> list[Step]:
    """All steps, the most important first.

    Args:
        device: Where to compute.
        model: The model that is measured most.
        small: A small model.
        rounds: Timed rounds.
        clips: Clips per forward pass and per training step, of the two target ratios.
    """
    common = {"preset": model, "device": device, "rounds": rounds}

    def bench(name: str, precision: str, count: int, **options: Any) -> Step:
        tf32, budget_s, label = options.pop("tf32", False), options.pop("budget_s", 60), options.pop("label", "")
        shown = f"{name} {precision}{' with tf32' if tf32 else ''} x {count}{label}"
        arguments = {"benchmark": name, **common, "precision": precision, "clips": count, **options}
        return Step(name=shown, run="bench", arguments=arguments, budget_s=budget_s, tf32=tf32)

    def profiled(benchmark: str, candidate: str) -> Step:
        arguments = {"benchmark": benchmark, "candidate": candidate, "preset": model, "device": device, "clips": clips}
        return Step(name=f"profile {benchmark} bf16 of {candidate}", run="profile", arguments=arguments, budget_s=40)

    small_model = {"preset": small, "label": f" of {Path(small).stem}", "budget_s": 30}
    return [
        Step(name="products", run="products", arguments={"device": device}, budget_s=60),
        bench("model", "bf16", clips, only=EAGER),
        bench("train", "bf16", clips, only=TRAINED),
        Step(name="tests", run="tests", arguments={"device": device}, budget_s=120),
        Step(name="attention", run="attention", arguments={"device": device, "clips": clips}, budget_s=30),
        profiled("memory", "ours"),
        profiled("train", "ours"),
        profiled("memory", "transformers"),
        bench("model", "bf16", 1, only=EAGER),
        bench("model", "bf16", 4 * clips, only=EAGER),
        bench("train", "bf16", 4 * clips, only=TRAINED),
        bench("model", "fp32", clips, only=EAGER),
        bench("train", "fp32", clips, only=TRAINED),
        bench("model", "bf16", clips, only=COMPILED, label=", compiled", budget_s=150),
        bench("train", "bf16", clips, only=COMPILED, label=", compiled", budget_s=150),
        bench("memory", "bf16", clips, rounds=1),
        bench("memory", "fp32", 1, rounds=1),
        bench("train", "bf16", 64, only=TRAINED, **small_model),
        bench("train", "fp32", 64, only=TRAINED, **small_model),
        bench("model", "fp32", clips, only=EAGER, tf32=True),
        bench("train", "fp32", clips, only=TRAINED, tf32=True),
        bench("cost", "bf16", 1, rounds=5, budget_s=90),
        bench("cost", "fp32", 1, rounds=3, budget_s=90),
    ]


def run_step(run: str, arguments: Mapping[str, Any], *, tf32: bool) -> dict[str, Any]:
    """Run a step in this process."""
    import torch

    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    functions: dict[str, Callable[..., dict[str, Any]]] = {
        "bench": bench,
        "products": products,
        "attention": attention,
        "profile": profile,
        "tests": tests,
    }
    return functions[run](**arguments)


def bench(benchmark: str, **arguments: Any) -> dict[str, Any]:
    """The JSON of `timesformer bench`."""
    return import_module(f"timesformer.bench.{benchmark}").run(**arguments).to_dict()


def products(device: str) -> dict[str, Any]:
    """Rates of a large square matrix product, in GMAC/s, with random numbers; and the machine."""
    import torch

    from timesformer.bench.result import describe_machine

    size, on_gpu = (8192, True) if torch.device(device).type == "cuda" else (512, False)
    found: dict[str, float] = {}
    for name, dtype in {"bf16": torch.bfloat16, "fp32": torch.float32} | ({"tf32": torch.float32} if on_gpu else {}):
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        found[name] = size**3 / 1e9 / seconds_of(lambda left=left, right=right: left @ right, device=device)
    return {"size": size, "gmac_per_s": found, "machine": describe_machine(), "gpu": _gpu() if on_gpu else {}}


def _gpu() -> dict[str, Any]:
    """What matters of the GPU and its libraries."""
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gb": properties.total_memory / 1e9,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def attention(device: str, clips: int) -> dict[str, Any]:
    """Milliseconds of attention in bf16 over time and over space of `base`, by kernel and by layout.

    `strided` are the views of fast inference, `[t, b * (1 + n), 3, heads, d]`; `packed` has each sequence by itself.
    """
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel

    frames, patches, heads, width = 8, 196, 12, 64
    layouts = {
        "time, strided": torch.randn(frames, clips * (1 + patches), 3, heads, width).movedim(0, 1),
        "time, packed": torch.randn(clips * patches, frames, 3, heads, width),
        "space, strided": torch.randn(frames * clips, 1 + patches, 3, heads, width),
    }
    kernels = {kernel.name: [kernel] for kernel in SDPBackend.__members__.values() if kernel.name != "ERROR"}
    found: dict[str, dict[str, float | str]] = {}
    for name, qkv in layouts.items():
        # in the memory order of the layout: `to` keeps the strides
        q, k, v = (part.movedim(2, 1) for part in qkv.to(device, torch.bfloat16).unbind(2))
        found[name] = {}
        for kernel, backends in kernels.items():
            try:
                with sdpa_kernel(backends), torch.inference_mode():
                    run = lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v)  # noqa: E731
                    found[name][kernel] = 1e3 * seconds_of(run, device=device)
            except RuntimeError as error:
                found[name][kernel] = str(error).splitlines()[0]
        found[name]["chosen"] = 1e3 * seconds_of(
            lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v), device=device
        )
        plain = lambda q=q, k=k, v=v: ((q @ k.mT) * width**-0.5).softmax(-1) @ v  # noqa: E731
        found[name]["plain products"] = 1e3 * seconds_of(plain, device=device)
    return {"milliseconds": found}


def seconds_of(work: Callable[[], object], *, device: str, repeats: int = 20) -> float:
    """Mean seconds of a call among many, after three that do not count."""
    import time

    from timesformer.bench.settings import DeviceAndDtype

    wait = DeviceAndDtype.of(device, "fp32").wait_for
    for _ in range(3):
        work()
    wait(None)
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    wait(None)
    return (time.perf_counter() - start) / repeats


def profile(benchmark: str, candidate: str, *, preset: str, device: str, clips: int) -> dict[str, Any]:
    """The operators and kernels that take most of the time of a forward pass (`memory`) or of a training step."""
    import torch
    from torch.profiler import ProfilerActivity

    on_gpu = torch.device(device).type == "cuda"
    prepare = import_module(f"timesformer.bench.{benchmark}").prepare
    work = prepare(candidate, preset=preset, device=device, precision="bf16", clips=clips)
    wall_s = seconds_of(work, device=device, repeats=5)
    with torch.profiler.profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    ) as profiler:
        work()
    kind = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, kind))
    rows = [{"name": event.key[:120], "calls": event.count, "ms": getattr(event, kind) / 1e3} for event in events]
    total = sum(row["ms"] for row in rows)
    launches = sum(row["calls"] for row in rows if row["name"] == "cudaLaunchKernel")
    return {"wall_ms": 1e3 * wall_s, "sum_ms": total, "kernel_launches": launches, "rows": rows[:25]}


def tests(device: str) -> dict[str, Any]:
    """`tests/gpu` in a separate process, without the plugins of the other tests, which need more packages."""
    paths = [str(ROOT / name) for name in ("src", "tests", "benchmarks")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "TIMESFORMER_GPU_TESTS": device}
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "pytest.ini"
        settings.write_text("[pytest]\naddopts = -q --import-mode=importlib\n", "utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(settings),
            "--rootdir",
            str(ROOT),
            "-p",
            "no:cacheprovider",
        ]
        command += ["--confcutdir", str(ROOT / "tests" / "gpu"), "--durations=5", str(ROOT / "tests" / "gpu")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return {"exit_status": done.returncode, "result": lines[-1] if lines else "", "output": lines[-200:]}
