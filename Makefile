# `make demo` and `make test` do all the set-up: they need Python 3.11+ and nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
# Linux users who want PyTorch's CPU build set this to its package index (see README.md).
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
SOURCES := models compression service cli tests benchmarks docs

.PHONY: demo test test-fast lint check format schema clean

demo: $(VENV)/.demo
	@$(BIN)/paretext demo $(DEMO_ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(TEST_ARGS)

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" $(TEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

check: lint test
	$(BIN)/python tests/serve_only.py

format: $(VENV)/.dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

schema: $(VENV)/.dev
	$(BIN)/python -m paretext_compression.schema
	$(BIN)/python docs/reference.py

# Torch comes first and alone: asked for along with packages that need it, pip may take a build with
# several gigabytes of CUDA.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Paretext needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch"
	@$(PIP) torch
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "installing paretext with what the demo needs"
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	@echo "installing paretext with what development needs"
	@$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist demo-store .mypy_cache .ruff_cache .pytest_cache
