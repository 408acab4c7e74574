#!/bin/sh
# Install the package for a container image: `tools/install_image.sh PREFIX SBOM EXTRA ...`.
# PREFIX becomes a virtual environment with nothing but what runs; what builds stays outside. Every downloaded file is
# checked against requirements.lock. SBOM is the CycloneDX file that lists what PREFIX holds. TORCH is cpu or cuda.
# shellcheck disable=SC2086 # options
set -eu
prefix=$1 sbom=$2
shift 2
PINS="--require-hashes -c requirements.lock"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pinned_pip() { # into the environment $1
    awk '/^pip==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock > "$work/pip.txt"
    "$1/bin/python" -m pip install -q -r "$work/pip.txt"
}

python3 -m venv "$work/tools"
pinned_pip "$work/tools"
python3 tools/requirements.py build security > "$work/tools.txt"
"$work/tools/bin/pip" install -q $PINS -r "$work/tools.txt"
"$work/tools/bin/python" -m build --no-isolation --wheel --outdir "$work/dist" .

python3 -m venv "$prefix"
pinned_pip "$prefix"
PIP="$prefix/bin/pip" TORCH="$TORCH" PINS="$PINS" sh tools/install_torch.sh
python3 tools/requirements.py core "$@" > "$work/run.txt"
"$prefix/bin/pip" install -q $PINS -r "$work/run.txt"
"$prefix/bin/pip" install -q --no-deps "$work"/dist/*.whl
"$prefix/bin/python" -m pip check
"$prefix/bin/python" -m pip uninstall -q -y pip
"$work/tools/bin/cyclonedx-py" environment "$prefix/bin/python" --pyproject pyproject.toml --output-reproducible -o "$sbom"
