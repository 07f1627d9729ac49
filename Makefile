# `make run` and `make test` do all the set-up themselves. Needs Python 3.11, git and make.
PYTHON ?= python3.11
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DO_NOT_TRACK := 1

.PHONY: run up deploy screenshots test test-all check setup lock bench clean

run: setup  ## the main job: models -> smoke test -> experiments -> assessment, on this machine
	$(BIN)/foresight program

up: setup  ## a Prefect server on loopback, every deployment and one worker; Ctrl-C ends it all
	@$(BIN)/python -m flows.up

deploy: setup  ## every deployment onto the server that PREFECT_API_URL names
	@$(BIN)/python -m flows.deploy

setup: .venv/ready

# The locks are complete and hashed, so nothing is resolved at install time (--no-deps).
.venv/ready: requirements.lock requirements-data.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 is needed and '$(PYTHON)' is not it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "setting up .venv (about 6 GB, some minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install -q --no-deps --require-hashes --no-build-isolation -r requirements-data.lock
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

check: setup  ## linter, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check  ## linter, types, import rules and the fast tests
	$(BIN)/pytest -m "not slow"

test-all: check  ## and the slow ones
	$(BIN)/pytest

bench: setup  ## phase 1 with features once and anew, what a local call costs to start, the orchestration beside Metaflow and Dagster, reading 1,000 records, 20 calls on Modal's control plane against their critical path
	$(BIN)/python benchmarks/phase_one.py
	$(BIN)/python benchmarks/local_backend.py
	$(BIN)/python benchmarks/orchestration.py
	$(BIN)/python benchmarks/many_records.py
	$(BIN)/python benchmarks/modal_makespan.py

screenshots: setup  ## pictures of the UI for the docs; needs chromium (apt-get install chromium)
	$(BIN)/python docs/images/screenshots.py

COMPILE := $(BIN)/uv pip compile --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
  --generate-hashes --no-emit-index-url --no-header -q

lock: setup  ## resolve the dependencies anew
	$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements.lock
	$(COMPILE) --no-deps requirements-data.in -o requirements-data.lock

clean:
	rm -rf .venv .foresight build *.egg-info
