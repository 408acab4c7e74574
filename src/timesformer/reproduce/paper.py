"""Numbers from the paper, in percent unless the key names another unit.

Source: Bertasius et al. 2021, tables 1 to 5 and 8 and section 4.7. Figures 4, 5 and 6 are drawn without numbers.
"""

from collections.abc import Mapping

K400, SSV2 = "paper K400", "paper SSv2"

Printed = Mapping[str, float]

PAPER_SCHEMES: Mapping[str, Printed] = {
    "space_only": {"paper params, M": 85.9, K400: 76.9, SSV2: 36.6},
    "joint_space_time": {"paper params, M": 85.9, K400: 77.4, SSV2: 58.5},
    "divided_space_time": {"paper params, M": 121.4, K400: 78.0, SSV2: 59.5},
    "sparse_local_global": {"paper params, M": 121.4, K400: 75.9, SSV2: 56.3},
    "axial": {"paper params, M": 156.8, K400: 73.5, SSV2: 56.2},
}
"""Table 1: the schemes, from ImageNet-21k weights."""

TMACS = {(8, 224): 0.59, (16, 448): 5.11, (96, 224): 7.14}
"""Table 5: 10^12 multiply-accumulates of 3 views of the divided scheme, by number of frames and crop side."""

_IN1K, _IN21K = "paper IN-1k", "paper IN-21k"
PRETRAINING: Mapping[str, Printed] = {
    "base": {f"{_IN1K} K400": 75.8, f"{_IN21K} K400": 78.0, f"{_IN1K} SSv2": 59.5, f"{_IN21K} SSv2": 59.5},
    "hr": {f"{_IN1K} K400": 77.8, f"{_IN21K} K400": 79.7, f"{_IN1K} SSv2": 62.2, f"{_IN21K} SSv2": 62.5},
    "large": {f"{_IN1K} K400": 78.1, f"{_IN21K} K400": 80.7, f"{_IN1K} SSv2": 62.4, f"{_IN21K} SSv2": 62.3},
}
"""Table 3: pretraining on ImageNet-1k and ImageNet-21k."""

FROM_SCRATCH: Printed = {"paper scratch K400": 64.8}
"""The base model on Kinetics-400 without any pretraining."""

POSITION: Mapping[str, Printed] = {
    "none": {K400: 75.4, SSV2: 45.8},
    "space": {K400: 77.8, SSV2: 52.5},
    "space_time": {K400: 78.0, SSV2: 59.5},
}
"""Table 4: position embeddings."""

STEP_ORDER: Mapping[str, Printed] = {
    "divided_space_time": {K400: 78.0, SSV2: 59.5},
    "space_time_reversed": {K400: 77.5, SSV2: 59.0},
    "parallel": {K400: 77.6, SSV2: 59.1},
}
"""Section 4.7: space before time is 0.5 points lower on both data sets, parallel attention 0.4."""

LONG: Mapping[int, Mapping[str, float]] = {
    8: {"paper TimeSformer": 56.8, "paper SlowFast": 48.2, "paper clip, s": 8.5, "paper clips": 48},
    32: {"paper TimeSformer": 61.2, "paper SlowFast": 50.8, "paper clip, s": 34.1, "paper clips": 12},
    64: {"paper TimeSformer": 62.2, "paper SlowFast": 51.5, "paper clip, s": 68.3, "paper clips": 6},
    96: {"paper TimeSformer": 62.6, "paper SlowFast": 51.2, "paper clip, s": 102.4, "paper clips": 4},
}
"""Table 8: HowTo100M, by frames of a clip at stride 32, from weights trained on Kinetics-400."""
