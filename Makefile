# `make demo` and `make test` install what they need into .venv; nothing else is required
# than Python 3.11 to 3.13.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-fast test-slow test-deploy test-docker mutants lint format clean

help:
	@echo "make demo       train a model over 5 simulated clients, about two minutes with the install"
	@echo "make test       format, lint, types, import rules and all tests"
	@echo "make test-fast  the same without the end-to-end tests"
	@echo "make test-deploy  real SuperLink and SuperNodes with TLS, and what they do when killed"
	@echo "make test-docker  the compose demo on a real Docker engine, and what it leaves"
	@echo "make mutants    breaks promises in a copy, one at a time: the tests must notice each"
	@echo "make lint       format, lint, types and import rules"
	@echo "make format     format the code"
	@echo "make clean      remove what make has made"

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

demo: .venv/installed
	$(BIN)/python -m app.simulation --num-clients 5

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Each file in one process, as fixtures of a file are dear.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations=25

test: lint
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not e2e and not deploy and not docker and not slow"

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --durations=25 -m slow tests

test-deploy: .venv/installed-dev
	$(BIN)/python -m pytest $(PARALLEL) -m deploy tests/deploy

test-docker: .venv/installed-dev
	deploy/engine.sh
	TACET_NEEDS_DOCKER=1 $(BIN)/python -m pytest -s -m docker tests/docker

# Half an hour, and not in CI: for who changes a check, or the tests of one.
mutants: .venv/installed-dev
	$(BIN)/python -m tests.mutants

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
