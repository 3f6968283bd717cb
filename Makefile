# make demo    from a fresh clone to a leaderboard        make test   set-up, ruff, mypy, pytest, SLURM
# make setup   only .venv                                 make fmt    let ruff mend what it can
#
# PYTHON     the interpreter that makes .venv (3.11 to 3.13)
# PIP_ARGS   extra arguments for pip; for a torch without CUDA, see docs/install.md
PYTHON ?= python3
PIP_ARGS ?=
export PIP_ARGS
# Packages from elsewhere would count as installed, and then be missing.
unexport PYTHONPATH PYTHONHOME

BIN := .venv/bin

.PHONY: setup demo test check lint types unit test-slurm fmt clean

setup:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: sudo apt-get install python3 python3-venv python3-dev, or name another: make PYTHON=…" >&2; exit 2; }
	@$(PYTHON) tools/setup.py

demo: setup
	$(BIN)/mtp-bench run suites/demo.yaml
	$(BIN)/mtp-bench report demo

test: check test-slurm

check: lint types unit

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest --ignore=tests/slurm

# A real SLURM on this machine (slurm/local-cluster); where it cannot be had, pytest says why.
test-slurm: setup
	$(BIN)/pytest tests/slurm

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The wheel of mmcv stays in the cache (docs/install.md says where).
clean:
	rm -rf .venv .setup.lock .mypy_cache .ruff_cache .pytest_cache build *.egg-info
