# Everything runs in a virtual environment of its own, which these targets make.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo test lint tox clean

help: ## what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/.demo: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml setup.py $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	@touch $@

demo: $(VENV)/.demo ## the whole loop on real backends, about 30 s (ARGS="--seed 7 --app asgi")
	$(BIN)/seism demo $(ARGS)

test: $(VENV)/.test ## the whole test suite (ARGS="-k ledger")
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.test ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

tox: $(VENV)/.test ## the suite on each Python of 3.11-3.13 that is there
	$(BIN)/python -m pip install --quiet tox
	$(BIN)/tox

clean: ## remove what was made
	rm -rf $(VENV) .tox build dist *.egg-info seism-report .pytest_cache .mypy_cache .ruff_cache .hypothesis
