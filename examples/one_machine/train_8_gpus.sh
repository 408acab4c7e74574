#!/bin/bash
# Train on the 8 GPUs of one machine: `examples/one_machine/train_8_gpus.sh videos runs/mine [OPTION ...]`.
# GPUS=4 takes another number. OMP_NUM_THREADS shares the cores between the processes. After a process was lost, all are
# started again, up to RESTARTS times, and go on from the last checkpoint: `--set checkpoint_every=500` makes more of them.
set -euo pipefail
data=${1:?a folder or list of videos} run=${2:?a run folder}
shift 2
gpus=${GPUS:-8}
cores=$(nproc)
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores / gpus > 0 ? cores / gpus : 1))}"
exec torchrun --standalone --nproc-per-node="$gpus" --max-restarts="${RESTARTS:-3}" -m timesformer train "$data" --output "$run" "$@"
