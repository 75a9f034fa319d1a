# Endcap. `make` lists what there is to make; `make demo` and `make test` set up what they need.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Written last: it exists, newer than what it depends on, exactly when the set-up is complete.
STAMP := $(VENV)/.set-up
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Create .venv with all that demo and tests need (again only when the lock changes)

.PHONY: demo
demo: setup ## A year of a real grocer, from raw data to one shopper's recommendations
	@$(BIN)/endcap demo

.PHONY: test
test: setup ## Run all tests
	@$(BIN)/python -m pytest

.PHONY: lint
lint: setup ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: bench
bench: setup ## Measure joins and served requests on what `make demo` has left
	@$(BIN)/endcap bench

.PHONY: bench-serving
bench-serving: setup ## Measure and draw served requests and events, and kill the server twenty times
	@$(BIN)/endcap bench --only serving

.PHONY: bench-quality
bench-quality: setup ## Measure quality beside well-known recommenders over three cuts (trains each)
	@$(BIN)/endcap bench-quality

.PHONY: bench-daily
bench-daily: setup ## Play 14 days of December: ingest, train, gate and switch each, measured on the next
	@$(BIN)/endcap bench-daily

.PHONY: serve
serve: setup ## Answer requests on http://127.0.0.1:3000 with the current release
	@$(BIN)/endcap serve

# uv is quick; where it cannot be had, pip does the same slowly. pip reads PIP_FIND_LINKS by itself, uv is told.
$(STAMP): requirements.lock pyproject.toml
	@rm -f $@
	@$(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"; then \
		set -x; \
		$(BIN)/uv pip install --python $(BIN)/python -r requirements.lock \
			$${PIP_FIND_LINKS:+--find-links "$$PIP_FIND_LINKS"} && \
		$(BIN)/uv pip install --python $(BIN)/python --no-deps --reinstall-package endcap --editable .; \
	else \
		set -x; \
		$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock && \
		$(BIN)/python -m pip install --disable-pip-version-check --no-deps --editable .; \
	fi
	@touch $@
