# Every target sets up what it needs: two virtual environments, one for dynamirror and one for the
# embedded server, which pins versions of its own and must not decide ours.

PYTHON ?= python3
VENV   := .venv
SERVER := .venv-server
BIN    := $(VENV)/bin

# The embedded DynamoDB-compatible server that tests and demo run; started on loopback only.
SERVER_PACKAGE := ministack==1.5.33

# Tests wait for servers and for time more than they compute.
WORKERS ?= 4

.PHONY: help demo test lint coverage docs bench screenshots soak clean

help:
	@echo "make demo      two regions on this machine: tables copied, changes followed, all compared;"
	@echo "               with SERVE=1 a dashboard shows it, and it goes on afterwards, to be tried"
	@echo "make test      every test, those against a real server included"
	@echo "make lint      format, lint, types, direction of imports"
	@echo "make coverage  the pure core's tests reach every branch of it"
	@echo "make docs      the manual as a website, docs/_build/index.html"
	@echo "make bench     the benchmarks, side by side with the peers"
	@echo "make soak      the fault tests at full size (about half an hour)"
	@echo "make screenshots  the dashboard's pictures in docs/images"
	@echo "make clean     remove the virtual environments and caches"

demo: $(VENV)/ready $(SERVER)/ready
	@$(BIN)/dynamirror demo --server-python $(SERVER)/bin/python $(if $(SERVE),--serve)

test: $(VENV)/dev $(SERVER)/ready
	@$(BIN)/python -m tests.web.browser
	@DYNAMIRROR_SERVER_PYTHON=$(SERVER)/bin/python $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The two-way rules are reached by histories, always the same ones, and what these leave out by tests
# of the core's own. What is left out here is tested with the commands and the engine that need it,
# or not to the last branch yet.
ELSEWHERE := drift exports facts repair reported servers unchanged values view/*
NOTHING   :=
COMMA     := ,
OMITTED   := $(subst $(NOTHING) ,$(COMMA),$(ELSEWHERE:%=src/dynamirror/core/%.py))

coverage: $(VENV)/dev
	@DYNAMIRROR_SEEDS=12 DYNAMIRROR_SEED_BASE=0 $(BIN)/python -m coverage run -m pytest -q tests/core tests/simulation/test_histories.py tests/simulation/test_stories.py
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --include='src/dynamirror/core/*' --omit='$(OMITTED)' --show-missing --fail-under=100

docs: $(VENV)/docs
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs docs/_build
	@echo "docs/_build/index.html"

bench: $(VENV)/dev $(SERVER)/ready
	@DYNAMIRROR_SERVER_PYTHON=$(SERVER)/bin/python $(BIN)/python -m bench $(or $(ARGS),--json bench/build/bench.json --plot bench/build/bench.svg)

screenshots: $(VENV)/dev
	@$(BIN)/python -m tests.web.browser
	@$(BIN)/python -m tests.web.screenshots

soak: $(VENV)/dev $(SERVER)/ready
	@DYNAMIRROR_SERVER_PYTHON=$(SERVER)/bin/python $(BIN)/python -m tests.soak $(ARGS)

clean:
	rm -rf $(VENV) $(SERVER) .venv-bench .mypy_cache .pytest_cache .ruff_cache .hypothesis bench/build docs/_build

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed and '$(PYTHON)' is not there: install it, or say where: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, but $(PYTHON) is $$($(PYTHON) --version 2>&1): say where a newer one is: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module does not work: on Debian or Ubuntu, apt-get install python3-venv"; exit 2; }
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' || { rm -rf $(VENV); echo "pip can't reach a package index: check the network or pip's index settings"; exit 2; }

$(VENV)/ready: $(VENV)/bin/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --editable '.[fast]'
	@touch $@

$(VENV)/dev: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(VENV)/docs: $(VENV)/ready
	@$(BIN)/python -m pip install --quiet --group docs
	@touch $@

$(SERVER)/ready: $(VENV)/bin/python
	@echo "setting up $(SERVER) ..."
	@$(PYTHON) -m venv $(SERVER)
	@$(SERVER)/bin/python -m pip install --quiet --upgrade pip '$(SERVER_PACKAGE)' || { rm -rf $(SERVER); echo "pip can't install the embedded server, $(SERVER_PACKAGE): check the network or pip's index settings"; exit 2; }
	@touch $@
