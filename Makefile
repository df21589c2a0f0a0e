# Set-up and checks. `make help` lists the targets.

# The interpreter that makes the environment, where the environment is, and more arguments for pip and pytest,
# for example: make test PYTHON=python3.13 PIP_ARGS="-c .ci/constraints-py311.txt" PYTEST_ARGS="-n 2 -m 'not slow'"
PYTHON_GIVEN := $(PYTHON)
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?= --numprocesses=auto --maxprocesses=4
TESTS ?= tests src/vennvi
DOCS_HTML ?= docs/_build/html

BIN := $(VENV)/bin
# An environment that exists is made again only if PYTHON asks for another version than its own.
ifneq ($(PYTHON_GIVEN),)
ifneq ($(shell $(PYTHON) -c 'import platform; print(platform.python_version())'),$(shell sed -n 's/^version = //p' $(VENV)/pyvenv.cfg 2>/dev/null))
OTHER_PYTHON := FORCE
endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint format docs clean distclean FORCE

help: ## list the targets
	@awk -F ':|##' '/^[a-z]+:.*## / { printf "  make %-11s%s\n", $$1, $$NF }' $(firstword $(MAKEFILE_LIST))

$(VENV)/pyvenv.cfg: $(OTHER_PYTHON)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "vennvi needs Python 3.11 or newer; choose one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

# Written last: an installation that was cut short is taken up again.
$(VENV)/.installed: pyproject.toml $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install $(PIP_ARGS) --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install $(PIP_ARGS) --editable ".[$*]"
	@touch $@

install: $(VENV)/.installed ## make the environment and install vennvi into it, editable

demo: $(VENV)/.installed ## install, then learn the latents of a simulated multiome and draw them
	$(BIN)/vennvi demo

# One thread a process: the tests run in several.
test: $(VENV)/.installed-test ## install, then run the tests and the examples of the docstrings
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

lint: $(VENV)/.installed-dev ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## mend style and format where that can be done by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.installed-doc ## build the documentation, warnings are errors
	rm -rf docs/generated
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q docs $(DOCS_HTML)
	@echo "The documentation starts at $(DOCS_HTML)/index.html"

clean: ## remove caches and what was built
	rm -rf build dist docs/_build docs/generated .mypy_cache .pytest_cache .ruff_cache
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment as well
	rm -rf $(VENV)
