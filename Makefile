# Everything runs in .venv, which `make setup` creates and keeps up to date with pyproject.toml.

PYTHON ?= python3
SERVERS ?= valkey-9.1 redis-7.0 redis-8.2 valkey-8.1 redis-6.2
ARGS ?=
ROUNDS ?= 6
SECONDS ?= 60
MINUTES ?= 3

BIN := .venv/bin
STAMP := .venv/.stamp

.DEFAULT_GOAL := help
.PHONY: help setup demo test cluster test-matrix mutations fuzz soak faults check bench bench-check clean

help:  ## Show these commands
	@echo "busredis: a message bus on Redis Streams"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS=... goes to pytest, the benchmarks, faults and the mutants (a word of their names); PYTHON=python3.12 chooses the Python of .venv"

setup: $(STAMP)  ## Create .venv with everything in it, a server included

$(STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "busredis needs Python 3.11 or later, and $(PYTHON) is not on PATH: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "busredis needs Python 3.11 or later, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1): make setup PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv || \
	  { rm -rf .venv; echo "no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[server,dev]'
	@touch $@

demo: setup  ## See it work: a server, daemons, events, retries, dead letters
	@$(BIN)/busredis demo

test: setup  ## Run all tests on real servers
	$(BIN)/python -m pytest $(ARGS)

cluster: setup  ## Failovers and moving slots under load, on clusters of 3 and 6 masters and with sentinels: ROUNDS=6
	BUSREDIS_CLUSTER_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -s tests/partitions $(ARGS)

test-matrix: setup  ## Run all tests on each server: SERVERS="valkey-9.1 redis-7.0 ..."
	@table=""; \
	for server in $(SERVERS); do \
	  echo "== $$server"; \
	  start=$$(date +%s); \
	  if BUSREDIS_TEST_SERVER=$$server $(BIN)/python -m pytest $(ARGS); then result=passed; else result=FAILED; fi; \
	  table="$$table$$(printf '  %-12s %-8s %5s s' "$$server" "$$result" "$$(($$(date +%s) - start))")\n"; \
	  if [ $$result = FAILED ]; then break; fi; \
	done; \
	printf '\n  server       result    time\n%b' "$$table"; \
	test "$$result" = passed

mutations: setup  ## Break the code on purpose, in a copy, and show that the tests notice
	$(BIN)/python -m mutations $(ARGS)

fuzz: setup  ## Feed damaged bytes to all that reads bytes: SECONDS=60
	$(BIN)/python -m fuzz $(SECONDS)

soak: setup  ## Steady load with random faults on real processes: MINUTES=3
	$(BIN)/python -m soak $(MINUTES)

check: setup  ## Check format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## Run the benchmarks; ARGS=--write writes docs/performance.md; ARGS=backlog and ARGS=scaling take minutes
	$(BIN)/python -m bench $(ARGS)

bench-check: setup  ## Warn of a path that got more than 10% dearer than at the commit before
	$(BIN)/python -m bench.guard

faults: setup  ## Inject faults for real into a million events and check what became of each (needs strace)
	$(BIN)/python -m faults $(ARGS)

clean:  ## Stop the embedded server, remove .venv and caches; the events in .busredis stay
	@if [ -x $(BIN)/python ]; then \
	  $(BIN)/python -c 'from busredis.server import EmbeddedServer; EmbeddedServer().stop(force=True)' || true; \
	fi
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
