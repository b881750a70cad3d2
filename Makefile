# `make demo` and `make test` do everything on a machine with Python 3.11+, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOAK_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format docs soak bench clean

help: ## Show what there is to make
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tokenproxy needs Python 3.11 or later: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group test
	@tests/install.sh
	@tests/e2e/issuers/oidc_provider/install.sh $(BIN)
	@touch $@

$(VENV)/.test: tests/install.sh tests/e2e/issuers/oidc_provider/package-lock.json

$(VENV)/.check: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group check
	@touch $@

demo: $(VENV)/.installed ## Watch the main job on an embedded issuer and API, until Ctrl-C
	@$(BIN)/tokenproxy demo $(DEMO_ARGS)

test: $(VENV)/.test ## Run all tests but the long ones
	$(BIN)/python -m pytest --numprocesses auto -m "not soak" --cov --cov-report term $(TEST_ARGS)

check: $(VENV)/.check ## Format and lint, types, and who may import whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.check ## Put the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.test ## Build the documentation into build/docs, and find what is broken in it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file docs/site/mkdocs.yml

soak: $(VENV)/.test ## Run what needs minutes: kills, races, load
	$(BIN)/python -m pytest -m soak --timeout 600 $(SOAK_ARGS)

bench: $(VENV)/.test ## Measure what must be fast, and count what must be rare
	@bench/install.sh $(BIN)
	$(BIN)/python -m bench.keeper
	$(BIN)/python -m bench.replicas
	$(BIN)/python -m bench.callbacks
	$(BIN)/python -m bench.http $(BENCH_ARGS)

clean: ## Remove what was made here
	rm -rf $(VENV) build .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
