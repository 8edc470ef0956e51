# A newcomer's two commands: `make bench` and `make test`. Each sets up what it needs.
# VENV=DIR reuses an environment; PYTHON=python3.12 chooses the interpreter that makes one.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
STAMP = $(VENV)/.vae-zoo-$(shell sha256sum pyproject.toml | cut -c1-12)-$(shell pwd | sha256sum | cut -c1-8)
JOBS ?= 2

.PHONY: bench test lint install clean help

help:           ## what can be made
	@grep -E '^[a-z]+: .*##|^[a-z]+: *##' $(MAKEFILE_LIST) | sed 's/:.*##/  /'

bench: install  ## train and compare four variants on embedded data; records, figures and a table under results/quick
	$(BIN)/zoo-bench run quick

test: install   ## the test suite, and why any test was skipped
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -n $(JOBS)

lint: install   ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(STAMP) ## an environment in $(VENV) with the project in it, editable

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	rm -f $(VENV)/.vae-zoo-*
	touch $@

clean:          ## remove the environment and caches; results stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .benchmarks
