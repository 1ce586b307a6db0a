# Ballast's commands. Each one sets up what it needs by itself; `make` alone lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help demo test check integration proto proto-image locks data clean

# Options of a command: make demo ARGS="--speed 100".
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# A child of make that must not outlive it, whatever signal ends make: the kernel kills it with its parent.
BOUND := exec $(BIN)/python -m tools.lifeline
PIP := exec $(BIN)/python -m tools.lifeline $(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps

export PYTHONPATH := $(CURDIR):$(CURDIR)/build/gen
export MYPYPATH := $(CURDIR)/build/gen

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.runtime proto ## the whole loop on real prices: broker, services, venues, crashes, reconciliation
	@$(BOUND) $(BIN)/python -m tools.demo $(ARGS)

test: check integration ## every check: make check, then the stories on a real broker

check: $(VENV)/.dev proto ## what needs no broker: lint, types, imports, wire contract, unit tests (under a minute)
	@$(BOUND) $(BIN)/ruff check --quiet .
	@$(BOUND) $(BIN)/ruff format --check --quiet .
	@$(BOUND) $(BIN)/mypy
	@$(BOUND) $(BIN)/lint-imports --no-logo
	@$(BOUND) $(BIN)/buf lint
	@$(BOUND) $(BIN)/python -m tools.proto breaking
	@$(BOUND) $(BIN)/python -m pytest --ignore=tests/integration $(ARGS)

integration: $(VENV)/.dev proto ## the stories of tests/integration on a real broker
	@$(BOUND) $(BIN)/python -m pytest tests/integration $(ARGS)

proto: $(VENV)/.runtime ## generate Python from proto/ into build/gen
	@$(BOUND) $(BIN)/python -m tools.proto

proto-image: $(VENV)/.dev ## renew proto/v1.binpb, what buf breaking compares with
	@$(BOUND) $(BIN)/buf build --exclude-source-info --output proto/v1.binpb

locks: ## resolve pyproject.toml into the two hash-pinned locks (needs uv)
	@command -v uv >/dev/null 2>&1 || { echo "make locks needs uv (pipx install uv)" >&2; exit 2; }
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --all-extras $(LOCK_WITHOUT_DEV) pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --all-extras --constraint requirements.lock pyproject.toml --output-file requirements-dev.lock

data: $(VENV)/.runtime ## rebuild the recorded prices in data/ from their published source
	@$(BOUND) $(BIN)/python -m tools.data $(ARGS)

clean: ## remove everything that was built or run, .venv too
	rm -rf $(VENV) build .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@for each in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	    if $$each -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        $$each -m venv $(VENV) && touch $@ && exit 0; \
	    fi; \
	done; \
	echo "Python 3.11 or newer with venv is needed and was not found (Debian/Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.13)" >&2; \
	exit 2

$(VENV)/.runtime: $(VENV)/.made requirements.lock
	@echo "python: installing what requirements.lock pins into $(VENV)"
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "python: installing what requirements-dev.lock pins into $(VENV)"
	@$(PIP) -r requirements-dev.lock
	@touch $@
