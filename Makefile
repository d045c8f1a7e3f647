# The front door. `make run` starts the demo, `make test` runs the tests; both set everything up by themselves.
# `make test TESTS=tests/devices` runs a part of them; JOBS=1 one after the other.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check

# Containers often forbid Python to keep what it has compiled; each of some hundred servers would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

# How many tests run at once: two for each processor, as more than half of their time is waiting.
JOBS   ?= $(shell $(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))')
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=20

.PHONY: run test test-long coverage docs lint bench changelog clean

run: $(VENV)/run.stamp
	$(BIN)/labioc demo

test: $(VENV)/test.stamp
	$(PYTEST) $(TESTS)

# As `make test`, with 30 times as many examples for each property and fuzz test; about half an hour.
test-long: $(VENV)/test.stamp
	$(PYTEST) --timeout=1800 --hypothesis-profile=long $(TESTS)

# The comparison of Channel Access servers, about ten minutes; `make bench BENCH=--quick` takes two to three.
bench: $(VENV)/bench.stamp
	$(BIN)/python -m bench.ca_compare $(BENCH)

# Which lines and branches no test takes: a table, and htmlcov/index.html.
coverage: $(VENV)/test.stamp
	$(PYTEST) --cov --cov-report=term --cov-report=html $(TESTS)

# The documentation as a site, in site/; make test builds it too.
docs: $(VENV)/test.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open site/index.html; searching needs a web server: $(PYTHON) -m http.server -d site"

# Move the fragments of changes/ into CHANGELOG.md: make changelog VERSION=0.2.0
changelog: $(VENV)/run.stamp
	$(BIN)/python scripts/changelog.py $(VERSION)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "labioc needs Python 3.11 or newer; try make PYTHON=python3.12 (found: $$($(PYTHON) --version))" >&2; exit 1; }
	@echo "making a Python environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/run.stamp: pyproject.toml | $(BIN)/python
	@echo "installing labioc and what it needs into $(VENV) ..."
	$(INSTALL) --editable '.[terminal]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml $(VENV)/run.stamp
	@echo "installing what the tests need, a few minutes the first time ..."
	$(INSTALL) --editable '.[test]'
	@touch $@

$(VENV)/lint.stamp: pyproject.toml $(VENV)/test.stamp
	$(INSTALL) --quiet --editable '.[test,lint]'
	@touch $@

# pcaspy needs a compiler where there is no wheel for it; without it the comparison leaves it out.
$(VENV)/bench.stamp: pyproject.toml $(VENV)/test.stamp
	$(INSTALL) --quiet --editable '.[test,bench]'
	-$(INSTALL) --quiet pcaspy
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage* htmlcov site
	find . -name __pycache__ -prune -exec rm -rf {} +
