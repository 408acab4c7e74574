"""The results of `gpu.py` as Markdown: the two targets, then tables of all steps."""

from collections.abc import Iterator, Mapping
from typing import Any

FORWARD_TARGET = 3.0
"""Speedup of a forward pass in bf16 over `transformers`."""
TRAINING_TARGET = 0.45
"""Fraction of the rate of a matrix product that a training step in bf16 reaches."""


def summary(results: Mapping[str, Any]) -> str:
    """The Markdown of all results that exist."""
    steps = results["steps"]
    lines = [f"# {_title(results)}", "", *_targets(results), ""]
    lines += ["## Speed and memory", "", *_speed_table(steps), "", *_unavailable(steps), *_memory(steps)]
    lines += [line for name, step in steps.items() for line in _section(name, step)]
    failed = [f"* {name}: {step['error']}" for name, step in steps.items() if "error" in step]
    return "\n".join([*lines, *(["## Steps without a result", "", *failed] if failed else [])]).rstrip()


def _title(results: Mapping[str, Any]) -> str:
    machine = next((step["machine"] for step in results["steps"].values() if "machine" in step), {})
    name = machine.get("cpu" if results["device"] == "cpu" else "gpu", results["device"])
    return f"{name}, {results['date']}, torch {machine.get('torch', 'unknown')}"


def _targets(results: Mapping[str, Any]) -> Iterator[str]:
    """Lines for each target: what was reached, or why it is unknown."""
    for clips in (results["clips"], 4 * results["clips"]):
        step = results["steps"].get(f"model bf16 x {clips}", {})
        ratio = step.get("speedup_of_ours", {}).get("transformers", {}).get("median")
        what = f"forward pass of {clips} clips in bf16 over transformers eager"
        yield _target(what, ratio, FORWARD_TARGET, "{:.2f} times", step)
    for clips in (results["clips"], 4 * results["clips"]):
        step = results["steps"].get(f"train bf16 x {clips}", {})
        fraction = step.get("settings", {}).get("fraction_of_matmul")
        what = f"training step of {clips} clips in bf16, of the rate of a matrix product"
        yield _target(what, fraction, TRAINING_TARGET, "{:.1%}", step)


def _target(what: str, found: float | None, target: float, form: str, step: Mapping[str, Any]) -> str:
    if found is None:
        reason = step.get("error") or step.get("unavailable", {}).get("transformers") or "was not measured"
        return f"* {what}: unknown ({reason}); target on a GPU {form.format(target)}"
    verdict = "met" if found >= target else "missed"
    return f"* {what}: **{form.format(found)}**, target on a GPU {form.format(target)}: {verdict}"


def _speed_table(steps: Mapping[str, Any]) -> Iterator[str]:
    """A row for each candidate of `bench model` and `bench train`."""
    yield "| step | | ms | clips/s | speedup of ours (quartiles) | max diff | memory, MB | of the product's rate |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for name, step in steps.items():
        if step.get("bench") in ("model", "train"):
            yield from (_speed_row(name, step, candidate) for candidate in step["candidates"])


def _speed_row(name: str, step: Mapping[str, Any], candidate: str) -> str:
    row, settings = step["candidates"][candidate], step["settings"]
    ratio, difference = step["speedup_of_ours"].get(candidate), step["max_difference"].get(candidate)
    cells = [
        name,
        candidate,
        f"{1e3 * row['median_s']:.2f}",
        f"{settings['clips'] / row['median_s']:.1f}",
        f"{ratio['median']:.2f} ({ratio['quartiles'][0]:.2f} to {ratio['quartiles'][1]:.2f})" if ratio else "",
        f"{difference:.1e}" if difference is not None else "",
        f"{row['memory_mb']:.0f}" if "memory_mb" in row else "",
        "" if ratio else f"{settings['fraction_of_matmul']:.1%}",
    ]
    return f"| {' | '.join(cells)} |"


def _unavailable(steps: Mapping[str, Any]) -> Iterator[str]:
    """A line for each candidate that could not run, once."""
    reasons = {f"* {name}: {why}" for step in steps.values() for name, why in step.get("unavailable", {}).items()}
    yield from sorted(reasons)
    if reasons:
        yield ""


def _memory(steps: Mapping[str, Any]) -> Iterator[str]:
    measured = {name: step for name, step in steps.items() if step.get("bench") == "memory"}
    if not measured:
        return
    yield from ("| step | | above weights, MB | of transformers |", "|---|---|--:|--:|")
    for name, step in measured.items():
        for candidate, row in step["candidates"].items():
            fraction = row["fraction_of_transformers"]
            shown = "" if fraction is None else f"{fraction:.2f}"
            yield f"| {name} | {candidate} | {row['above_weights_mb']:.0f} | {shown} |"
    yield ""


def _section(name: str, step: Mapping[str, Any]) -> Iterator[str]:
    """The other steps, one section each."""
    if "rows" in step:
        yield from (f"## {name}", "")
        yield f"{step['wall_ms']:.2f} ms without the profiler; {step['kernels']} kernels, {step['kernel_ms']:.2f} ms."
        for title, rows in {"operator": step["rows"], "kernel": step["kernel_rows"]}.items():
            if rows:
                yield from ("", f"| {title} | calls | ms |", "|---|--:|--:|")
                yield from (f"| `{row['name'][:80]}` | {row['calls']} | {row['ms']:.3f} |" for row in rows[:15])
        yield ""
    elif "milliseconds" in step:
        yield from (f"## {name}, ms", "")
        for layout, kernels in step["milliseconds"].items():
            cells = [f"{kernel} {ms:.3f}" if isinstance(ms, float) else f"{kernel} -" for kernel, ms in kernels.items()]
            yield f"* {layout}: {', '.join(cells)}"
        yield ""
    elif "gmac_per_s" in step:
        rates = ", ".join(f"{dtype} {rate:.4g}" for dtype, rate in step["gmac_per_s"].items())
        yield from (f"Product of {step['size']} x {step['size']} matrices, GMAC/s: {rates}.", "")
    elif "exit_status" in step:
        yield from (f"`tests/gpu`: exit status {step['exit_status']}, {step['result']}", "")
    elif step.get("bench") == "cost":
        yield from (f"## {name}", "", "| | ms | closed form, ms |", "|---|--:|--:|")
        for point, row in step["candidates"].items():
            yield f"| {point} | {1e3 * row['median_s']:.2f} | {1e3 * row['closed_form_s']:.2f} |"
        yield ""
