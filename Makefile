# `make demo` and `make test` install what they need into .venv; nothing else is required
# than Python 3.11 to 3.13.
PYTHON ?= python3
BIN := .venv/bin
# Where the locked torch comes from, as options of pip; its CPU build is what is meant.
TORCH_FROM ?=

.PHONY: help demo test test-fast test-slow test-deploy test-docker bench mutants lint format lock sbom clean

help:
	@echo "make demo       train a model over 5 simulated clients, about two minutes with the install"
	@echo "make test       format, lint, types, import rules and all tests"
	@echo "make test-fast  the same without the end-to-end tests"
	@echo "make test-deploy  real SuperLink and SuperNodes with TLS, and what they do when killed"
	@echo "make test-docker  the compose demo on a real Docker engine, and what it leaves"
	@echo "make mutants    breaks promises in a copy, one at a time: the tests must notice each"
	@echo "make bench      speed as ratios, hours; BENCH=--small as in CI, a minute"
	@echo "make lint       format, lint, types and import rules"
	@echo "make format     format the code"
	@echo "make lock       write deploy/locks anew from the ranges in pyproject.toml"
	@echo "make sbom       write sbom.cdx.json: what .venv is made of"
	@echo "make clean      remove what make has made"

# LOCKED=1, as in CI: what deploy/locks names and nothing else, each file by its hash, and nothing
# fetched to build with. An environment that was made without it is made anew.
ifeq ($(LOCKED),1)
LOCKS := $(addprefix deploy/locks/,setuptools.txt torch.txt dev.txt)

.venv/locked: pyproject.toml $(LOCKS)
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --require-hashes --requirement deploy/locks/setuptools.txt
	$(BIN)/pip install --quiet --require-hashes --no-build-isolation --use-pep517 $(TORCH_FROM) \
	  $(addprefix --requirement ,$(LOCKS)) || \
	  { echo "not installed as deploy/locks says: see 'When it is refused' in docs/supply-chain.md" >&2; false; }
	$(BIN)/pip install --quiet --no-index --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	@touch $@

.venv/installed .venv/installed-dev: .venv/locked
	@touch $@
else
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@
endif

# The tools have an environment of their own, so that they are not in what they describe.
.venv/tools/installed: deploy/locks/tools.txt .venv/installed
	$(PYTHON) -m venv --clear .venv/tools
	.venv/tools/bin/pip install --quiet --require-hashes --requirement deploy/locks/tools.txt
	@touch $@

lock: .venv/installed
	$(BIN)/python -m deploy.lock $(LOCK)

sbom: .venv/tools/installed
	.venv/tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
	  --output-file sbom.cdx.json $(BIN)/python

demo: .venv/installed
	$(BIN)/python -m app.simulation --num-clients 5

lint: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Each file in one process, as fixtures of a file are dear; three, as many tests wait for others.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder --durations=25

test: lint
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not e2e and not deploy and not docker and not slow"

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -n 3 --dist loadgroup --durations=25 -m slow tests

test-deploy: .venv/installed-dev
	$(BIN)/python -m pytest $(PARALLEL) -m deploy tests/deploy

test-docker: .venv/installed-dev
	deploy/engine.sh
	TACET_NEEDS_DOCKER=1 $(BIN)/python -m pytest -s -m docker tests/docker

bench: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.bench $(BENCH)

# Half an hour, and not in CI: for who changes a check, or the tests of one.
mutants: .venv/installed-dev
	$(BIN)/python -m tests.mutants

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info dist build sbom.cdx.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
