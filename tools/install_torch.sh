#!/bin/sh
# Install the torch of constraints.txt: its CPU build (TORCH=cpu) or its CUDA build (TORCH=cuda), and never gigabytes of
# CUDA by accident.
set -eu
wanted=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' constraints.txt)

# The plain wheels of macOS and Windows are CPU builds; those of Linux are CUDA builds.
if [ "$TORCH" = cuda ] || [ "$(uname -s)" != Linux ]; then
    exec "$PIP" install -q -c constraints.txt "torch==$wanted"
fi
# A CPU wheel at hand (PIP_FIND_LINKS, an own index) comes first, then PyTorch's index of CPU builds.
if "$PIP" install -q -c constraints.txt "torch==$wanted+cpu" 2>/dev/null; then
    exit 0
fi
if "$PIP" install -q -c constraints.txt --index-url https://download.pytorch.org/whl/cpu "torch==$wanted"; then
    exit 0
fi
echo "No CPU build of torch $wanted was found. Run 'make TORCH=cuda ...' to install the CUDA build (about 3 GB)," >&2
echo "or install torch $wanted into .venv yourself and run make again." >&2
exit 1
