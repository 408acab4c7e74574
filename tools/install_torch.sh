#!/bin/sh
# Install the torch of constraints.txt: its CPU build (TORCH=cpu) or its CUDA build (TORCH=cuda), and never gigabytes of
# CUDA by accident. PINS are the options of pip that hold versions and hashes.
# shellcheck disable=SC2086 # options
set -eu
wanted=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' constraints.txt)

# The plain wheels of macOS and Windows are CPU builds; those of Linux are CUDA builds.
if [ "$TORCH" = cuda ] || [ "$(uname -s)" != Linux ]; then
    exec "$PIP" install -q $PINS "torch==$wanted"
fi
# A CPU wheel at hand (PIP_FIND_LINKS, an own index) comes first, then PyTorch's index of CPU builds. That index also has
# other packages, of which it has other files than PyPI: it gives torch alone.
if "$PIP" install -q $PINS "torch==$wanted+cpu" 2>/dev/null; then
    exit 0
fi
if "$PIP" install -q $PINS --no-deps --index-url https://download.pytorch.org/whl/cpu "torch==$wanted+cpu"; then
    exec "$PIP" install -q $PINS "torch==$wanted+cpu" # what it needs
fi
echo "No CPU build of torch $wanted was found. Run 'make TORCH=cuda ...' to install the CUDA build (about 3 GB)," >&2
echo "or install torch $wanted into .venv yourself and run make again." >&2
exit 1
