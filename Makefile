# One place for the few commands. Everything it makes is below .venv/ and build/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# What guests boot where the running kernel lacks a feature; a look takes a tenth of a second once they are here.
KERNELS := 6.1 uml-6.1
export PYTHONDONTWRITEBYTECODE ?=

.PHONY: all demo test test-pure test-engine test-guests test-experiments ready soak bench lint packages clean help

help:
	@echo "make demo    set everything up and run the first experiment (root)"
	@echo "make test    set everything up and run all tests; as an ordinary user those that need no privilege"
	@echo "make soak    the tests that take longer (root)"
	@echo "make bench   speed and memory as ratios against a floor in C, and against Mininet (root)"
	@echo "make lint    ruff and mypy"

$(STAMP): pyproject.toml
	@tools/venv
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lab needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	-@$(BIN)/lab doctor --install
	-@$(BIN)/lab kernels fetch $(KERNELS)
	$(BIN)/lab run rp-filter

# The experiments wait far more than they work, so they are tested side by side; guests take a processor each; the tests of the
# engine have the host to themselves.
GUESTS := tests/guest tests/e2e/test_elsewhere.py tests/e2e/test_kernels.py tests/e2e/test_scenario_vlan.py tests/e2e/test_scenario_bonding.py
EXPERIMENTS = $(filter-out $(GUESTS),$(wildcard tests/e2e/test_scenario_*.py))
CHECK := $(PYTEST) -m "not soak"

test: test-pure test-engine test-guests test-experiments

ready: $(STAMP)
	@$(BIN)/python tools/packages.py test
	-@$(BIN)/lab kernels fetch $(KERNELS)

test-pure: ready
	$(CHECK) -n 2 tests/unit

test-engine: ready
	$(CHECK) tests $(addprefix --ignore=,tests/unit $(GUESTS) $(EXPERIMENTS))

test-guests: ready
	$(CHECK) -n 2 --dist loadfile $(GUESTS)

test-experiments: ready
	$(CHECK) -n 4 --dist worksteal $(EXPERIMENTS)

soak: $(STAMP)
	@$(BIN)/python tools/packages.py test
	-@$(BIN)/lab kernels fetch $(KERNELS) 5.10 6.12
	$(PYTEST) -m soak

bench: $(STAMP)
	@$(BIN)/python tools/packages.py test bench
	@mkdir -p build
	$(BIN)/python tests/bench/bench.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist
