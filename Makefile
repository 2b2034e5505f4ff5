# Everything a developer types. Needs Python 3.11 or newer; no root, no docker.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup run test lint fmt bench chaos browser lock

setup: .venv/.ready ## the environment, pinned by hash

.venv/.ready: requirements/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fleetportal needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

run: setup ## a live fleet: servers, portal, workers and a swarm of 50 devices
	@exec $(BIN)/python -m fleetportal.embedded $(ARGS)

test: setup ## everything but chaos, load and half of the looks at every page, against the real parts
	$(BIN)/python -m tests.system_packages
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not chaos and not browser_long" --durations=25 $(ARGS)

lint: setup ## style, types, import contracts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --config pyproject.toml
	ENV_FILE=tests/lint.env $(BIN)/mypy .

fmt: setup ## put the code into shape
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: setup ## the benchmarks of docs/performance.md
	$(BIN)/python -m benchmarks $(ARGS)

chaos: setup ## kill every process under load; stored must equal sent
	$(BIN)/python -m tests.system_packages
	$(BIN)/python -m pytest -m chaos $(ARGS)

browser: setup ## the pages in headless Chromium
	$(BIN)/python -m tests.system_packages
	$(BIN)/python -m pytest -m browser $(ARGS)

lock: setup ## pin newer versions by hash; the format names no registry host
	$(BIN)/uv pip compile -q --upgrade --universal --generate-hashes --no-annotate --no-header --python-version 3.11 --all-extras --group dev pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -c requirements/dev.txt --all-extras pyproject.toml -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -c requirements/dev.txt pyproject.toml -o requirements/base.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header --python-version 3.11 -c requirements/dev.txt requirements/agent.in -o requirements/agent.txt
