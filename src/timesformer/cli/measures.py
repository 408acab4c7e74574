"""Measures of an evaluation, as text."""

from timesformer.evaluation.baselines import Baselines
from timesformer.evaluation.result import Evaluation


def summary(result: Evaluation) -> str:
    """Accuracies of an evaluation and their protocol, as text."""
    skipped = f" ({len(result.skipped)} skipped)" if result.skipped else ""
    others = "".join(f"{f'top-{k}':<19}{accuracy:.1%}\n" for k, accuracy in result.top_k.items() if k > 1)
    return (
        f"top-1              {result.top1:.1%}  95 % interval {result.describe_interval()}\n"
        f"{others}"
        f"mean over classes  {result.mean_class:.1%}\n"
        f"calibration error  {result.calibration.ece:.1%}\n"
        f"videos             {result.describe_size()}{skipped}\n"
        f"protocol           {result.protocol}"
    )


def baseline_lines(baselines: Baselines) -> str:
    """Chance and majority class, as text."""
    return (
        f"majority class     {baselines.majority:.1%} ({baselines.majority_class})\n"
        f"chance             {baselines.chance:.1%}"
    )
