#!/bin/bash
# Train on the 8 GPUs of one machine: `examples/one_machine/train_8_gpus.sh videos runs/mine [OPTION ...]`.
# GPUS=4 takes another number. OMP_NUM_THREADS shares the cores between the processes.
set -euo pipefail
data=${1:?a folder or list of videos} run=${2:?a run folder}
shift 2
gpus=${GPUS:-8}
cores=$(nproc)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores / gpus > 0 ? cores / gpus : 1))}"
exec torchrun --standalone --nproc-per-node="$gpus" -m timesformer train "$data" --output "$run" "$@"
