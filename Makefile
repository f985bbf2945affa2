# The commands of this project, the same on a desk and in CI. `make help` lists them.
# Paths are relative throughout: the clone may lie in a folder whose name holds spaces.

PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.setup-done
# For example: make test ARGS="-k lease -x"
ARGS ?=
# Tiers that `make test` leaves out: they need minutes or system packages.
SLOW_TIERS := slow or chaos or gameday or browser or pooler or celery or proxy
WORKERS ?= 4
# The slow tiers wait more than they compute.
SLOW_WORKERS ?= 4
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/python -m piptools compile --quiet \
	--generate-hashes --no-strip-extras --allow-unsafe --annotation-style line \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-slow lint format types imports locks check bench docs lock clean
.SUFFIXES:

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' \
	  | awk -F'|' '{ printf "%-18s%s\n", $$1, $$2 }'

setup: $(STAMP) ## Make .venv from requirements/dev.lock (a second call is instant)

$(STAMP): requirements/dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
	  echo "setup: $(PYTHON) was not found; install Python 3.11, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "setup: $(PYTHON) is not Python 3.11; name one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { \
	  echo "setup: $(PYTHON) could not make .venv; on Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	@echo "setup: installing the locked packages into .venv (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## One video from upload to public on three platforms, by the whole stack, in about two minutes
	@exec $(BIN)/minitik demo $(ARGS)

up: $(STAMP) ## The whole stack, staying up until Ctrl-C
	@exec $(BIN)/minitik up $(ARGS)

test: $(STAMP) ## The test suite (left out: the tiers of test-slow)
	@echo "make test leaves out the tiers slow, chaos, gameday, browser, pooler, celery and proxy: make test-slow runs them"
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

test-slow: $(STAMP) ## The tiers slow (minutes), chaos (kills at every point), gameday (parts of a stack die), browser (Chromium), pooler (PgBouncer), celery (two workers), proxy (nginx)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  echo "test-slow: the tier browser needs Chromium: apt-get install chromium" >&2; exit 1; }
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || { \
	  echo "test-slow: the tier pooler needs PgBouncer: apt-get install pgbouncer" >&2; exit 1; }
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || { \
	  echo "test-slow: the tier proxy needs nginx: apt-get install nginx-light" >&2; exit 1; }
	@for program in curl jq openssl; do command -v $$program >/dev/null || { \
	  echo "test-slow: the runbook's test needs $$program: apt-get install $$program" >&2; exit 1; }; done
	@$(BIN)/python -m pytest -m "$(SLOW_TIERS)" -n $(SLOW_WORKERS) --dist loadgroup $(ARGS)

lint: $(STAMP) ## Ruff: format and rules
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m ruff check .

format: $(STAMP) ## Let ruff format and fix what it can
	@$(BIN)/python -m ruff format .
	@$(BIN)/python -m ruff check --fix .

types: $(STAMP) ## mypy, strict, tests included
	@$(BIN)/python -m mypy

imports: $(STAMP) ## The layers of pyproject.toml: imports go downward only
	@$(BIN)/lint-imports --no-cache

locks: $(STAMP) ## The locks hold what pyproject.toml asks for, with hashes, and name no host
	@$(BIN)/python -m pytest tests/test_locks.py

check: lint types imports locks ## lint + types + imports + locks

bench: $(STAMP) ## Lateness one by one and at one instant, then memory with a 1 GiB file (some minutes)
	@$(BIN)/python benchmarks/lateness.py
	@$(BIN)/python benchmarks/memory.py

docs: $(STAMP) ## Renew the tables of docs/errors.md from the code
	@$(BIN)/python tests/error_tables.py

lock: $(STAMP) ## Renew requirements/*.lock after a change in pyproject.toml (ARGS=--upgrade for new versions)
	@$(COMPILE) $(ARGS) --extra local --extra dev --extra celery --extra kubernetes \
	  --output-file requirements/dev.lock pyproject.toml
	@$(COMPILE) $(ARGS) --constraint requirements/dev.lock --output-file requirements/run.lock pyproject.toml
	@$(COMPILE) $(ARGS) --extra celery --extra kubernetes --constraint requirements/dev.lock \
	  --output-file requirements/cluster.lock pyproject.toml

clean: ## Remove .venv, caches and the local stack's data (.minitik)
	@rm -rf .venv .minitik .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
