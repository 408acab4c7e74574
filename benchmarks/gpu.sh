#!/usr/bin/env bash
# Everything that is measured on a GPU, in at most eight minutes: see benchmarks/gpu.py.
#
#   benchmarks/gpu.sh [OUT] [--minutes 8] [--device cuda] [--model base] ...
#
# Runs with $PYTHON, else the Python of .venv, else python3; nothing needs to be installed but torch, einops, jaxtyping
# and numpy, and pytest for the tests.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
export PYTHONPATH="$root/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "$python" "$root/benchmarks/gpu.py" "$@"
