# Ballast's commands. Each one sets up what it needs by itself; `make` alone lists them.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: images base-image images-smoke k8s-check manifests
.PHONY: chaos-ledger
.PHONY: help demo test prometheus check lint types imports wire unit integration proto proto-image golden locks conformance backtest-margin bench-ledger bench-risk bench-restore bench-pipeline simulate monitoring data clean

# Options of a command: make demo ARGS="--speed 100".
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# A child of make that must not outlive it, whatever signal ends make: the kernel kills it with its parent.
BOUND := exec $(BIN)/python -m tools.lifeline
PIP := $(BOUND) $(BIN)/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps
RESOLVE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml
# What the demo needs: every extra but dev and bench.
RUNTIME_EXTRAS := price_ingestion collateral_management risk_evaluation liquidation_execution interest_accrual \
    venue_gateway build demo tracing

export PATH := $(PATH):$(CURDIR)/build/prometheus/usr/bin
export PYTHONPATH := $(CURDIR):$(CURDIR)/build/gen
export MYPYPATH := $(CURDIR)/build/gen

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.runtime proto ## the whole loop on real prices: broker, services, venues, crashes, reconciliation
	@$(BOUND) $(BIN)/python -m tools.demo $(ARGS)

test: prometheus check integration ## every check: make check, then make integration

# Rules and dashboards are tested with Debian's own Prometheus, unpacked into build/ where the machine has none;
# without it their tests are skipped, or fail where CI=true.
prometheus:
	@if ! command -v promtool >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then \
	    echo "prometheus: unpacking Debian's package into build/prometheus, for the tests of rules and dashboards"; \
	    mkdir -p build/prometheus && cd build/prometheus && \
	        { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } \
	            >/dev/null 2>&1 && dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb || \
	        echo "prometheus: not there; tests that need it are skipped" >&2; \
	fi

check: lint types imports wire unit k8s-check ## what needs no broker: lint, types, imports, wire, unit, k8s-check

lint: $(VENV)/.dev ## style and form of the code (ruff)
	@$(BOUND) $(BIN)/ruff check .
	@$(BOUND) $(BIN)/ruff format --check .

types: $(VENV)/.dev proto ## types (mypy --strict)
	@$(BOUND) $(BIN)/mypy

imports: $(VENV)/.dev ## the walls between services and layers (import-linter)
	@$(BOUND) $(BIN)/lint-imports --no-logo

wire: $(VENV)/.dev ## the wire contract: form, and nothing broken since proto/v1.binpb (buf)
	@$(BOUND) $(BIN)/buf lint
	@$(BOUND) $(BIN)/python -m tools.proto breaking

unit: $(VENV)/.dev proto ## tests without a broker
	@$(BOUND) $(BIN)/python -m pytest --ignore=tests/integration --ignore=tests/deploy $(ARGS)

k8s-check: $(VENV)/.dev proto ## Dockerfile and manifests: form, schemas, policies, flows, planted faults (seconds)
	@$(BOUND) $(BIN)/hadolint Dockerfile
	@$(BOUND) $(BIN)/yamllint --strict deploy config buf.yaml .yamllint
	@$(BOUND) $(BIN)/python -m tools.manifests check
	@$(BOUND) $(BIN)/python -m pytest tests/deploy

integration: $(VENV)/.dev proto ## the stories of tests/integration on a real broker
	@$(BOUND) $(BIN)/python -m pytest tests/integration $(ARGS)

proto: $(VENV)/.runtime ## generate Python from proto/ into build/gen
	@$(BOUND) $(BIN)/python -m tools.proto

proto-image: $(VENV)/.dev ## renew proto/v1.binpb, what buf breaking compares with
	@$(BOUND) $(BIN)/buf build --exclude-source-info --output proto/v1.binpb

golden: $(VENV)/.dev proto ## add golden bytes for what the wire contract gained
	@$(BOUND) $(BIN)/python -m tests.golden.renew $(ARGS)

images: $(VENV)/.runtime ## container images of the six services, with docker or podman (ARGS="--prefix P --tag T")
	@$(BOUND) $(BIN)/python -m tools.images build $(ARGS)

base-image: $(VENV)/.runtime ## a Debian base image for make images where no image registry is reached (mmdebstrap)
	@$(BOUND) $(BIN)/python -m tools.images base

images-smoke: $(VENV)/.runtime proto ## start every image read-only and unprivileged on a private broker until it is ready
	@$(BOUND) $(BIN)/python -m tools.images smoke $(ARGS)

manifests: $(VENV)/.runtime proto ## write the topics' manifests from libs/common/topics.py and config/
	@$(BOUND) $(BIN)/python -m tools.manifests write

locks: ## resolve pyproject.toml into the three hash-pinned locks (needs uv)
	@command -v uv >/dev/null 2>&1 || { echo "make locks needs uv (pipx install uv)" >&2; exit 2; }
	$(RESOLVE) $(RUNTIME_EXTRAS:%=--extra %) --output-file requirements.lock
	$(RESOLVE) $(RUNTIME_EXTRAS:%=--extra %) --extra parquet --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(RESOLVE) --extra risk_evaluation --extra build --extra bench --constraint requirements.lock --output-file requirements-bench.lock

conformance: $(VENV)/.runtime ## our models against other systems' own test cases (VECTORS=DIR, STRICT=1)
	@test -n "$(VECTORS)" || { echo "make conformance needs VECTORS=DIR, a folder of *.json vector files" >&2; exit 2; }
	@$(BOUND) $(BIN)/python -m tools.conformance "$(VECTORS)" $(if $(filter-out 0,$(STRICT)),--strict) $(ARGS)

simulate: $(VENV)/.runtime proto ## the whole system in one process under virtual time, 1,000 seeds (ARGS="--seed N --trace": one again)
	@$(BOUND) nice $(BIN)/python -m tools.simulate $(ARGS)

bench-ledger: $(VENV)/.runtime proto ## the ledger against its goals, a bare chain and Kafka transactions, end to end (ARGS="--quick")
	@$(BOUND) $(BIN)/python -m bench.ledger $(ARGS)

bench-risk: $(VENV)/.bench proto ## the margin engine against its goals and peers, one thread, CPU time (ARGS="--quick")
	@$(BOUND) nice $(BIN)/python -m bench.risk $(ARGS)

bench-restore: $(VENV)/.runtime proto ## the ledger's checkpoints: cost, restart of a million accounts, memory, take-over (ARGS="--quick")
	@$(BOUND) $(BIN)/python -m bench.restore $(ARGS)

bench-pipeline: $(VENV)/.bench proto ## from a mark to margins and episodes over a real broker, restarts, a million accounts (ARGS="--quick")
	@$(BOUND) $(BIN)/python -m bench.pipeline $(ARGS)

chaos-ledger: $(VENV)/.runtime proto ## the ledger killed, frozen, doubled and cut off while commands flow; some 15 minutes (ARGS="--short")
	@$(BOUND) $(BIN)/python -m tools.chaos $(ARGS)

monitoring: $(VENV)/.runtime ## write dashboards and the operator's objects from rules and specifications
	@$(BOUND) $(BIN)/python -m tools.monitoring $(ARGS)

backtest-margin: $(VENV)/.runtime proto ## the house margin on recorded days held out of calibration and on generated stress
	@$(BOUND) nice $(BIN)/python -m tools.backtest $(ARGS)

data: $(VENV)/.runtime ## rebuild the recorded prices in data/ from their published source
	@$(BOUND) $(BIN)/python -m tools.data $(ARGS)

clean: ## remove everything that was built or run, .venv too
	rm -rf $(VENV) build .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@for each in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	    if $$each -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	        exec $$each -c 'import pathlib, venv; venv.main(["$(VENV)"]); pathlib.Path("$@").touch()'; \
	    fi; \
	done; \
	echo "Python 3.11 or newer with venv is needed and was not found" \
	    "(Debian/Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.13)" >&2; \
	exit 2

$(VENV)/.runtime: $(VENV)/.made requirements.lock
	@echo "python: installing what requirements.lock pins into $(VENV)"
	@$(PIP) -r requirements.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "python: installing what requirements-dev.lock pins into $(VENV)"
	@$(PIP) -r requirements-dev.lock
	@touch $@

$(VENV)/.bench: $(VENV)/.runtime requirements-bench.lock
	@echo "python: installing what requirements-bench.lock pins into $(VENV)"
	@$(PIP) -r requirements-bench.lock
	@touch $@
