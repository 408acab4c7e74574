"""Whether the tables of `timesformer.model.matmul` and `timesformer.model.attention` choose the faster kernels here.

    python benchmarks/kernel_choice.py --rounds 9

Times a linear layer by torch, by oneDNN and by oneDNN with a packed weight, and attention by products and fused, in
fp32 and bf16, in interleaved rounds, at the sizes of the base model and of a small one. Prints JSON: milliseconds of
each, which one is chosen, and how much longer that takes than the fastest. These are single operations on warm caches:
where two are close, compare whole passes before you change a table.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from machine import describe_machine
from timesformer.bench.timing import Candidate, interleave
from timesformer.device import processor
from timesformer.model import attention, matmul

LAYERS = {
    "MLP of base": (1576, 768, 3072),
    "values of base": (1576, 768, 768),
    "MLP of a small model": (3088, 192, 768),
}
"""Tokens, inputs and outputs of a linear layer."""
SEQUENCES = {
    "over time, base": (197, 12, 8, 64),
    "over space, base": (8, 12, 197, 64),
    "over space, 448 pixels": (2, 12, 785, 64),
    "over space, a small model": (128, 4, 25, 48),
}
"""Sequences, heads, tokens and dimensions of a head."""


def layers(dtype: torch.dtype) -> Iterator[tuple[str, dict[str, Candidate], str]]:
    """For each layer: its name, the ways to compute it, and the one that is chosen."""
    for name, (rows, inputs, outputs) in LAYERS.items():
        x, weight, bias = (torch.randn(shape).to(dtype) for shape in ((rows, inputs), (outputs, inputs), (outputs,)))
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        ways: dict[str, Candidate] = {
            "torch": partial(F.linear, x, weight, bias),
            "oneDNN": partial(matmul._onednn, x, weight, bias, "none"),
            "oneDNN, packed": partial(matmul._onednn, x, packed, bias, "none"),
        }
        yield name, ways, "oneDNN, packed" if matmul._prefers_onednn(dtype, processor()) else "torch"


def attentions(dtype: torch.dtype) -> Iterator[tuple[str, dict[str, Candidate], str]]:
    """For each kind of sequence: its name, the kernels, and the one that is chosen."""
    for name, (sequences, heads, tokens, dim) in SEQUENCES.items():
        qkv = torch.randn(sequences, tokens, 3, heads, dim).to(dtype)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        by_head = tuple(part.reshape(-1, tokens, dim) for part in (q, k, v))
        ways: dict[str, Candidate] = {
            "products": partial(_by_products, q, k, v),
            "fused": partial(F.scaled_dot_product_attention, q, k, v, scale=1.0),
        }
        yield name, ways, "products" if attention._favors_products(*by_head[:2]) else "fused"


def _by_products(*heads: Tensor) -> Tensor:
    return attention._by_products(*(x.reshape(-1, *x.shape[2:]) for x in heads), scale=1.0)


def measure(
    cases: Callable[[torch.dtype], Iterator[tuple[str, dict[str, Candidate], str]]], *, rounds: int
) -> list[dict[str, Any]]:
    """Medians of each case in each precision."""
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        for name, ways, chosen in cases(dtype):
            seconds = {way: times.median for way, times in interleave(ways, rounds=rounds, warmup=2).items()}
            rows.append(
                {
                    "case": name,
                    "dtype": str(dtype).removeprefix("torch."),
                    "milliseconds": {way: round(1000 * each, 3) for way, each in seconds.items()},
                    "chosen": chosen,
                    "chosen_over_fastest": round(seconds[chosen] / min(seconds.values()), 2),
                }
            )
    return rows


@torch.inference_mode()
def main() -> None:
    """Time the kernels and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    result = {
        "linear_layers": measure(layers, rounds=rounds),
        "attention": measure(attentions, rounds=rounds),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "processor": asdict(processor()),
        **describe_machine(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
