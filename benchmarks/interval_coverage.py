"""How often the confidence interval of an accuracy contains the truth, in simulations with groups.

The own accuracy of each group is beta-distributed around the truth, with a correlation between two videos of a group
(0: independent videos); groups have equal or geometrically distributed sizes. Prints JSON: the fraction of simulations
whose interval contains the truth, 0.95 is nominal, by number of groups, and its mean width.

    python benchmarks/interval_coverage.py --simulations 1000
"""

import argparse
import itertools
import json
from collections import defaultdict

import numpy as np

from machine import describe_machine
from timesformer.evaluation.intervals import accuracy_interval
from timesformer.evaluation.metrics import wilson_interval

GROUPS = (2, 3, 4, 6, 8, 12, 20, 50)
CORRELATIONS = (0.0, 0.05, 0.2, 0.5)
TRUTHS = (0.5, 0.7, 0.8, 0.9, 0.95)
SIZES = (8, 40)


def simulate(rng: np.random.Generator, *, num_groups: int, size: int, truth: float, correlation: float, is_equal: bool):
    """Correctness of the videos of all groups, and the group of each."""
    sizes = np.full(num_groups, size) if is_equal else rng.geometric(1 / size, size=num_groups)
    scale = 1 / correlation - 1 if correlation else 0.0
    own = rng.beta(truth * scale, (1 - truth) * scale, size=num_groups) if correlation else np.full(num_groups, truth)
    groups = np.repeat(np.arange(num_groups), sizes)
    return rng.random(len(groups)) < own[groups], groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000, help="of each case")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng, cases = np.random.default_rng(given.seed), defaultdict(list)
    for case in itertools.product(GROUPS, CORRELATIONS, TRUTHS, SIZES, (True, False)):
        num_groups, correlation, truth, size, is_equal = case
        held, width, independent = 0, 0.0, 0
        for _ in range(given.simulations):
            right, groups = simulate(
                rng, num_groups=num_groups, size=size, truth=truth, correlation=correlation, is_equal=is_equal
            )
            found = accuracy_interval(right[None], groups=[str(group) for group in groups])
            low, high = wilson_interval(float(right.mean()), num_trials=len(right))
            held += found.low <= truth <= found.high
            independent += low <= truth <= high
            width += found.high - found.low
        cases[num_groups].append((held, independent, width, correlation))
    rows = []
    for num_groups, found in cases.items():
        coverage = np.array([row[0] for row in found]) / given.simulations
        usual = coverage[[row[3] <= 0.2 for row in found]]
        rows.append({
            "groups": num_groups,
            "coverage": round(float(coverage.mean()), 3),
            "least_coverage": round(float(coverage.min()), 3),
            "least_coverage_correlation_to_0.2": round(float(usual.min()), 3),
            "width": round(float(np.mean([row[2] for row in found])) / given.simulations, 3),
            "coverage_without_groups": round(float(np.mean([row[1] for row in found])) / given.simulations, 3),
        })  # fmt: skip
    print(json.dumps({"simulations": given.simulations, "machine": describe_machine(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
