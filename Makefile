# Two commands: `make demo` (see it work, or DATA=folder for your own videos) and `make test`.
# Both make .venv first. You only need Python 3.11+ and make.

PYTHON ?= python3
DATA ?=
OUTPUT ?= $(if $(DATA),runs/mine,runs/demo)

# The CPU build of torch where this machine has no NVIDIA GPU, the CUDA build where it has one. Say TORCH=cpu or
# TORCH=cuda to choose. The CPU build is taken from PyTorch's own index; where a local wheel is found by pip
# (PIP_FIND_LINKS), or that index cannot be reached, pip's ordinary sources are used.
TORCH ?= $(if $(shell command -v nvidia-smi 2>/dev/null),cuda,cpu)

# Every file that pip installs must have a SHA-256 of requirements.lock. Where an index has other files, such as wheels
# built in house, say PINS='-c constraints.txt': the same versions without hashes.
PINS ?= --require-hashes -c requirements.lock
INSTALL = .venv/bin/pip install -q $(PINS) -r
ITSELF = .venv/bin/pip install -q --no-deps --no-build-isolation -e .

.PHONY: help demo test test-slow coverage lint format lint-ci lock audit sbom dist clean
help:
	@echo "make demo               train on a small synthetic set and look at runs/demo/index.html (minutes)"
	@echo "make demo DATA=folder   the same on your videos: one folder of videos for each class"
	@echo "make test               the checks and the test suite, without the slow tests"
	@echo "make test-slow          the slow tests: clusters, restarts of torchrun, 2 to 4 minutes"
	@echo "make coverage           the test suite with branch coverage; half as long again"
	@echo "make lint | format | clean"
	@echo "make lock               pin versions and hashes anew (needs uv; UV=--upgrade for newer versions)"
	@echo "make audit              look the pinned versions up in PyPI's vulnerability database"
	@echo "make lint-ci            check the Dockerfile, the workflows and the shell scripts"
	@echo "make sbom               build/sbom.json: what is installed in .venv, as CycloneDX"
	@echo "make dist               the source archive and the wheel in dist/"
	@echo "make ... TORCH=cpu|cuda which build of torch to install (now: $(TORCH))"

demo: .venv/.installed
	.venv/bin/timesformer demo $(if $(DATA),--data "$(DATA)") --output "$(OUTPUT)"

test: .venv/.tested lint
	.venv/bin/python -m pytest -m "not slow"

test-slow: .venv/.tested
	.venv/bin/python -m pytest -m slow

coverage: .venv/.tested
	.venv/bin/python -m pytest --cov=timesformer --cov-report=term:skip-covered

lint: .venv/.tested
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ty check
	.venv/bin/lint-imports

format: .venv/.tested
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock:
	$(PYTHON) tools/lock.py $(UV)

# Status 3 of the script, which make reports as an error: the database could not be reached.
audit: .venv/security/.installed
	.venv/security/bin/python tools/audit.py

sbom: .venv/.installed .venv/security/.installed
	mkdir -p build
	.venv/security/bin/cyclonedx-py environment .venv/bin/python --pyproject pyproject.toml --output-reproducible -o build/sbom.json

lint-ci: .venv/security/.installed
	.venv/security/bin/hadolint Dockerfile
	.venv/security/bin/zizmor --offline --quiet .github/workflows
	.venv/security/bin/shellcheck .ci/run tools/*.sh $(wildcard examples/*/*.sh examples/*/*.sbatch)

dist: .venv/security/.installed
	.venv/security/bin/python -m build --no-isolation --outdir dist .

.venv/.pip:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	awk '/^pip==/ {on = 1} on {print} on && !/\\$$/ {exit}' $(lastword $(PINS)) > .venv/pip.txt
	.venv/bin/python -m pip install -q -r .venv/pip.txt
	touch $@

.venv/.torch: .venv/.pip requirements.lock
	PIP=.venv/bin/pip TORCH=$(TORCH) PINS='$(PINS)' sh tools/install_torch.sh
	touch $@

.venv/.installed: .venv/.torch pyproject.toml
	$(PYTHON) tools/requirements.py core train build > .venv/train.txt
	$(INSTALL) .venv/train.txt
	$(ITSELF)
	touch $@

.venv/.tested: .venv/.installed
	$(PYTHON) tools/requirements.py core train build dev > .venv/dev.txt
	$(INSTALL) .venv/dev.txt
	touch $@

.venv/security/.installed: .venv/.pip requirements.lock
	$(PYTHON) -m venv .venv/security
	$(PYTHON) tools/requirements.py build security > .venv/security.txt
	.venv/security/bin/python -m pip install -q -r .venv/pip.txt
	.venv/security/bin/pip install -q $(PINS) -r .venv/security.txt
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .coverage
