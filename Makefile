# What developers do, one act each. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Only some tests: make test TEST="tests/unit/pipeline -k replay"
TEST ?= tests
# How many processes run them; with 0 it is the one that pytest is, where a debugger works.
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile
BIN := .venv/bin

.PHONY: help
help: ## List these acts
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Make .venv with the locked requirements
	@scripts/setup

.PHONY: engine
engine: setup
	@scripts/engine

.PHONY: demo
demo: engine ## Run the example pipeline from source to production, on this machine
	@scripts/demo

.PHONY: test
test: engine ## Run the tests, cheap ones first; TEST="tests/unit -k name" runs some, JOBS=4 in four processes
	@scripts/test-tools
	$(PYTEST) $(TEST)

.PHONY: chaos
chaos: engine ## Kill the runner at every fault point there is, go on, and compare with an undisturbed run; takes an hour
	@scripts/test-tools
	EVERY_POINT=1 $(PYTEST) tests/chaos

.PHONY: live
live: engine ## Run the end-to-end test on the real AWS account that TOWPATH_LIVE_ACCOUNT and TOWPATH_LIVE_REGION name
	@scripts/live

.PHONY: check
check: setup ## Lint, check formats, types, workflows, scripts, and that generated files are fresh
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	scripts/lint/run
	$(BIN)/python scripts/generate.py --check

.PHONY: fix
fix: setup ## Repair what ruff can, and write generated files anew
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python scripts/generate.py

.PHONY: lock
lock: setup ## Pin the dependencies anew, after a change of pyproject.toml
	scripts/lock

.PHONY: bench
bench: engine ## Measure
	$(BIN)/python -m pytest tests/bench -o python_files='bench_*.py' -p no:randomly --capture=no

.PHONY: stop
stop: ## Stop the embedded AWS, and the Docker Engine if `make` started it
	@[ ! -x $(BIN)/towpath ] || $(BIN)/towpath embedded stop
	@scripts/engine --stop-if-started

.PHONY: clean
clean: ## Remove caches and the records of runs in .towpath, not .venv
	rm -rf .towpath .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
