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
        tf32, budget_s = options.pop("tf32", False), options.pop("budget_s", 60)
        kind, of = options.pop("kind", ""), options.pop("of", "")
        shown = f"{kind}{name} {precision}{' with tf32' if tf32 else ''} x {count}{of}"
        arguments = {"benchmark": name, **common, "precision": precision, "clips": count, **options}
        return Step(name=shown, run="bench", arguments=arguments, budget_s=budget_s, tf32=tf32)

    def profiled(benchmark: str, candidate: str) -> Step:
        arguments = {"benchmark": benchmark, "candidate": candidate, "preset": model, "device": device, "clips": clips}
        return Step(name=f"profile {benchmark} bf16 of {candidate}", run="profile", arguments=arguments, budget_s=40)

    on_gpu = {} if device == "cpu" else {"model": EAGER, "train": TRAINED}  # TF32 has no effect elsewhere
    small_model = {"preset": small, "of": f" of {Path(small).stem}", "budget_s": 30}
    return [
        Step(name="products", run="products", arguments={"device": device}, budget_s=60),
        bench("model", "bf16", clips, only=EAGER),
        bench("train", "bf16", clips, only=TRAINED),
        Step(name="tests", run="tests", arguments={"device": device, "within_s": 110}, budget_s=120),
        Step(name="attention", run="attention", arguments={"device": device, "clips": clips}, budget_s=30),
        profiled("memory", "ours"),
        profiled("train", "ours"),
        profiled("memory", "transformers"),
        bench("model", "bf16", 1, only=EAGER),
        bench("model", "bf16", 4 * clips, only=EAGER),
        bench("train", "bf16", 4 * clips, only=TRAINED),
        bench("model", "fp32", clips, only=EAGER),
        bench("train", "fp32", clips, only=TRAINED),
        bench("model", "bf16", clips, only=COMPILED, kind="compiled ", budget_s=150),
        bench("train", "bf16", clips, only=COMPILED, kind="compiled ", budget_s=150),
        bench("memory", "bf16", clips, rounds=1),
        bench("memory", "fp32", 1, rounds=1),
        bench("train", "bf16", 64, only=TRAINED, **small_model),
        bench("train", "fp32", 64, only=TRAINED, **small_model),
        *(bench(name, "fp32", clips, only=only, tf32=True) for name, only in on_gpu.items()),
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

    on_gpu = torch.device(device).type == "cuda"
    size = 8192 if on_gpu else 512
    dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32} | ({"tf32": torch.float32} if on_gpu else {})
    rates: dict[str, float] = {}
    for name, dtype in dtypes.items():
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        rates[name] = size**3 / 1e9 / seconds_of(lambda left=left, right=right: left @ right, device=device)
    return {"size": size, "gmac_per_s": rates, "machine": describe_machine(), "gpu": _gpu() if on_gpu else {}}


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
    backends = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
    found: dict[str, dict[str, float | str]] = {}
    for name, qkv in layouts.items():
        qkv = qkv.to(device, torch.bfloat16)  # keeps the order in memory
        found[name] = {"chosen": _attention_ms(F.scaled_dot_product_attention, qkv, device)}
        found[f"{name}, with gradients"] = {
            "chosen": _attention_ms(F.scaled_dot_product_attention, qkv, device, backward=True),
            "products": _attention_ms(_by_products, qkv, device, backward=True),
        }
        found[name]["products"] = _attention_ms(_by_products, qkv, device)
        for backend in backends:
            try:
                with sdpa_kernel(backend):
                    found[name][backend.name] = _attention_ms(F.scaled_dot_product_attention, qkv, device)
            except RuntimeError as error:
                found[name][backend.name] = str(error).splitlines()[0]
    return {"milliseconds": found}


def _by_products(q: Any, k: Any, v: Any) -> Any:
    return ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v


def _attention_ms(attend: Callable[..., Any], qkv: Any, device: str, *, backward: bool = False) -> float:
    """Milliseconds of attention on `[sequences, n, 3, heads, d]`, with gradients if `backward`."""
    qkv = qkv.detach().requires_grad_(backward)

    def work() -> None:
        y = attend(*(part.movedim(2, 1) for part in qkv.unbind(2)))
        if backward:
            y.sum().backward()
            qkv.grad = None

    return 1e3 * seconds_of(work, device=device)


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
    events = profiler.key_averages()
    operators = [event for event in events if event.device_type.name == "CPU"]
    kernels = [event for event in events if event.device_type.name != "CPU"]
    rows = _rows(operators, "self_device_time_total" if on_gpu else "self_cpu_time_total")
    own = _rows(kernels, "self_device_time_total") if on_gpu else rows
    return {
        "wall_ms": 1e3 * wall_s,
        "kernel_ms": sum(row["ms"] for row in own),
        "kernels": sum(row["calls"] for row in own),
        "rows": rows[:25],
        "kernel_rows": own[:25] if on_gpu else [],
    }


def _rows(events: list[Any], kind: str) -> list[dict[str, Any]]:
    ordered = sorted(events, key=lambda event: -getattr(event, kind))
    return [{"name": event.key[:120], "calls": event.count, "ms": getattr(event, kind) / 1e3} for event in ordered]


def tests(device: str, within_s: float) -> dict[str, Any]:
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
        command = ["timeout", str(within_s), *command]  # what was printed until then is kept
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return {"exit_status": done.returncode, "result": lines[-1] if lines else "", "output": lines[-200:]}
