# Two commands on a fresh machine: `make run` and `make test`; `make quick` while you work.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n auto --dist loadfile
# what tests need besides what is installed for users
TOOLS := pytest pytest-xdist hypothesis playwright 'ray[tune]'
# what answers within two minutes on two cores: rules, settings and everything that is pure
QUICK := tests/contract tests/config tests/augment tests/losses tests/metrics tests/optim \
	tests/stats tests/golden tests/run_folder

.PHONY: run test quick lint docs wheel lowest chromium clean

run: .venv/installed
	$(BIN)/cifarlab train quickstart

test: .venv/installed chromium lint
	$(PYTEST)

quick: .venv/installed
	$(BIN)/ruff check .
	$(PYTEST) $(QUICK)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# dist/: what is installed elsewhere
wheel: .venv/installed
	$(BIN)/python -m build --no-isolation

# the suite with the lowest versions that pyproject.toml allows (needs a network)
lowest: .venv/installed
	$(BIN)/uv venv --quiet --clear .venv-lowest
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --resolution lowest-direct '.[all,mlflow,tensorboard,trackio,wandb]'
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install $(TOOLS)
	.venv-lowest/bin/python -m pytest -n auto --dist loadfile $(QUICK) tests/kept tests/training \
		tests/exporting tests/report tests/cli

# the site, in build/docs/html: no network is needed, a warning is an error
docs: .venv/installed
	$(BIN)/sphinx-build -q -W --keep-going -d build/docs/doctrees docs build/docs/html

# the dashboard's and the site's tests drive it
chromium:
	@$(PYTHON) tests/dashboard/chromium.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-lowest build dist *.egg-info
