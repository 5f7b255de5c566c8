# Builds, runs and checks Weftline; `make help` lists the targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell scripts/find-python.sh)
PIP := $(BIN)/pip --disable-pip-version-check --quiet
JOBS ?= auto
TESTS ?=
BENCH ?=
KILLS ?= 1000
EXAMPLES ?= 10000
CUTS ?= 10000
CLIENTS ?= 5000

# A stamp is newer than what it was installed from, so a second run installs nothing.
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed

.PHONY: help run test chaos bench check format generate lock clean prerequisites

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-9s %s\n", $$1, $$2 }'

run: $(RUNTIME) ## Start both services and run the quickstart workflow; ONCE=1 ends with the run
	@$(BIN)/weftline up --run examples/quickstart.json $(if $(ONCE),--once)

test: $(DEV) prerequisites ## Run the whole test suite; TESTS=path for a part of it, JOBS=2 for two workers
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile $(TESTS)

chaos: $(DEV) ## Kill services, cut connections and drive random runs, thousands of times; KILLS=100 for less
	@WEFTLINE_CHAOS_KILLS=$(KILLS) WEFTLINE_CHAOS_CUTS=$(CUTS) WEFTLINE_CHAOS_CLIENTS=$(CLIENTS) \
		WEFTLINE_MODEL_EXAMPLES=$(EXAMPLES) \
		$(BIN)/pytest --timeout 0 --capture no tests/chaos tests/integration/executor/test_model.py

bench: $(DEV) ## Measure Weftline beside its peers; BENCH=pipeline for a part, BENCH=--quick for a look
	@$(BIN)/python -m bench $(BENCH)

check: $(DEV) ## Hold the tree to its gates: ruff, mypy, import-linter, buf, generated code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint
	scripts/generate.sh --check
	$(BIN)/python scripts/generate_settings_tables.py --check
	$(BIN)/python scripts/generate_node_docs.py --check
	$(BIN)/python scripts/generate_semantics.py --check

format: $(DEV) ## Format the code and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

generate: $(DEV) ## Generate the code of the contract and the documents that come from code
	scripts/generate.sh
	$(BIN)/python scripts/generate_settings_tables.py
	$(BIN)/python scripts/generate_node_docs.py
	$(BIN)/python scripts/generate_semantics.py

lock: $(DEV) ## Compile requirements/ from pyproject.toml; UPGRADE=1 for newer releases
	scripts/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## Remove what was built or installed here; data in .weftline stays
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

prerequisites:
	@scripts/install-prerequisites.sh

$(BIN)/python:
	@test -n "$(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)

$(RUNTIME): requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "Installing Weftline and what it needs into $(VENV): only this once …"
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(RUNTIME)
