"""Tests of this folder are collected where there is a CUDA GPU, and nowhere else."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
