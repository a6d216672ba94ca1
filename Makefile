# make demo    train a first agent, with a live progress bar; ends with its score and a picture
# make test    the whole test suite
# make lint    style and types
# make test-suites    environments of other libraries, in an environment of their own (.venv-suites)
# make test-mutants    deliberate errors in the package: each must be noticed by the tests of its room
# make test-slow, make clean
# PYTHON=python3.12 chooses the interpreter, VENV=.venv-3.12 where its environment goes, TESTS=tests/ops some tests.

PYTHON ?= python3
VENV ?= .venv
TESTS ?= tests
BIN := $(VENV)/bin
VERSION = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
CONSTRAINTS = constraints/python$(VERSION).txt
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: demo test test-mutants test-slow test-suites suites lint clean

demo: $(VENV)/installed
	$(BIN)/rljax train ppo CartPole-v1

# Tests compile more than they compute, so nothing is optimised: CONTRIBUTING.md says how much that is.
test test-mutants suites: export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
test test-mutants suites: export XLA_FLAGS ?= --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters
test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(TESTS)

test-mutants: $(VENV)/installed-dev
	PYTHONPATH=tests $(BIN)/python -m mutants

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

test-suites:
	$(MAKE) suites VENV=$(VENV)-suites

suites: $(VENV)/installed-suites
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" tests/suites

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "rljax runs on Python 3.11 to 3.13, '$(PYTHON)' is '$(VERSION)'; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	@echo "installing rljax into $(VENV) (about 1 GB; once)"
	$(INSTALL) -e .
	@touch $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	@echo "installing rljax and its test tools into $(VENV) (about 1 GB; once)"
	$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-suites: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	@echo "installing rljax, its test tools and the suites of environments into $(VENV) (about 2.5 GB; once)"
	$(INSTALL) -e '.[dev,suites]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-suites build dist .pytest_cache .ruff_cache
