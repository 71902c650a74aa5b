# One place for the few commands. Everything it makes is below .venv/ and build/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# What guests boot where the running kernel lacks a feature; a look takes a tenth of a second once they are here.
KERNELS := 6.1 uml-6.1
export PYTHONDONTWRITEBYTECODE ?=

.PHONY: demo test test-first test-pure test-alone test-kernel test-guests test-commands ready soak bench lint clean help

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

# Most tests wait more than they work, and are run side by side. Those that compare or change the whole host have it to
# themselves; so has tests/kernel in `make soak`, where namespaces that nothing names are counted too.
E2E := $(filter-out tests/e2e/test_soak.py,$(wildcard tests/e2e/test_*.py))
ALONE := $(patsubst %,tests/%.py,$(addprefix kernel/test_,baseline leak_check ownership rollback) \
	$(addprefix e2e/test_,cli doctor doctor_install hostile_files rootless))
GUESTS := tests/guest $(patsubst %,tests/e2e/test_%.py,elsewhere kernels scenario_vlan scenario_bonding)
CHECK := $(PYTEST) -m "not soak" --durations=12 --durations-min=5
# $(call beside,HOW,WHAT): side by side; what failed among neighbours is judged once more, alone, for the bounds of protocols are
# seconds of a clock and the neighbours take the processors. What fails alone too has failed.
beside = $(CHECK) $(1) -o cache_dir=build/cache/$@ $(2) || { echo "what failed beside others, alone:"; \
	$(CHECK) -o cache_dir=build/cache/$@ --last-failed --last-failed-no-failures none $(2); }

test: test-first test-kernel test-guests test-commands

# What needs no privilege makes nothing on the host, and so goes beside what wants the host to itself.
test-first: ready
	@$(MAKE) --no-print-directory --keep-going --output-sync -j 2 test-pure test-alone

ready: $(STAMP)
	@$(BIN)/python tools/packages.py test
	-@$(BIN)/lab kernels fetch $(KERNELS)

test-pure: ready
	$(CHECK) -n 2 tests/unit

test-alone: ready
	$(call beside,,$(ALONE))

test-kernel: ready
	$(call beside,-n 3 --dist loadfile,tests/kernel $(addprefix --ignore=,$(ALONE)))

test-guests: ready
	$(call beside,-n 2 --dist loadfile,$(GUESTS))

test-commands: ready
	$(call beside,-n 4 --dist worksteal,$(filter-out $(ALONE) $(GUESTS),$(E2E)))

soak: $(STAMP)
	@$(BIN)/python tools/packages.py test
	-@$(BIN)/lab kernels fetch $(KERNELS) 5.10 6.12
	$(CHECK) tests/kernel
	$(PYTEST) -m soak

bench: $(STAMP)
	@$(BIN)/python tools/packages.py test bench
	-@$(BIN)/lab kernels fetch $(KERNELS) 5.10 6.12
	@mkdir -p build
	$(BIN)/python tests/bench/bench.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist
