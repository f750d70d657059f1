# Tagway: two commands matter: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test test-fast bench soak crash-test faults check format tag docs clean

help:  ## Say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: $(VENV)/.run  ## Start the demo on loopback: gateway, vendors' lab and a shop
	@$(BIN)/tagway demo

test: $(VENV)/.dev check  ## Everything: format, lint, types, documentation, all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --reruns 2

test-fast: $(VENV)/.dev  ## The inner loop: no test that starts other programs or takes over a second
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' -x

check: $(VENV)/.dev  ## Format, lint, types, generated documentation
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/cog --check README.md docs/*.md

format: $(VENV)/.dev  ## Mend format, imports and generated documentation
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/cog -r README.md docs/*.md

tag:  ## Check the types of the browser tag's source and build it (needs npm)
	cd gateway/tag && npm ci --ignore-scripts --no-audit --no-fund && npm run check && npm run build

bench: $(VENV)/.dev  ## CPU microseconds per event and stage, beside the last table and beside other programs
	$(BIN)/python -m tests.load.bench --peers

soak: $(VENV)/.dev  ## Ten minutes of steady load with a vendor down in the middle: nothing grows, nothing is lost
	$(BIN)/python -m tests.load.soak

crash-test: $(VENV)/.dev  ## Kill the gateway three times under load and print the equation
	$(BIN)/python -m tests.faults.crash

faults: $(VENV)/.dev  ## The fifteen bars at full size, into docs/reliability.md: hours (TAGWAY_SCALE=0.1 for less)
	TAGWAY_FULL=1 $(BIN)/python -m tests.faults.run --write

clean:  ## Remove what the targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache dist
