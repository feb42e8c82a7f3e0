# Two commands on a fresh machine: `make run` and `make test`; `make quick` while you work.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n auto --dist loadfile
# what answers within two minutes on two cores: rules, settings and everything that is pure
QUICK := tests/contract tests/config tests/augment tests/losses tests/metrics tests/optim \
	tests/stats tests/golden tests/run_folder

.PHONY: run test quick lint docs links wheel fresh lowest chromium clean

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

# dist/: what is installed elsewhere; cifarlab-serve is the server without torch
wheel: .venv/installed
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m build --no-isolation --outdir dist serve

# the wheel as a user installs it: with the newest versions that pip finds (needs a network)
fresh: wheel
	$(PYTHON) -m venv --clear .venv-fresh
	.venv-fresh/bin/pip install --quiet "$$(ls -t dist/cifarlab-*.whl | head -1)[export,serve]"
	cd .venv-fresh && bin/cifarlab train quickstart --run run && bin/cifarlab export run && \
		bin/cifarlab serve run/export/onnx --check

# with the lowest versions that pyproject.toml allows, and the newest tools of tests: what is quick,
# and of the slow tests those of training, exports, the server, reports and commands; not those of
# experiments, dashboard, evaluation, data and documents (needs a network)
lowest: .venv/installed
	$(BIN)/uv venv --quiet --clear .venv-lowest
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --resolution lowest-direct --editable '.[all,mlflow,tensorboard,trackio,wandb]'
	VIRTUAL_ENV=.venv-lowest $(BIN)/uv pip install --editable '.[test]'
	.venv-lowest/bin/python -m pytest -n auto --dist loadfile $(QUICK) tests/kept tests/training \
		tests/exporting tests/serve tests/inference tests/report tests/cli

# the site, in build/docs/html: no network is needed, a warning is an error
docs: .venv/installed
	$(BIN)/sphinx-build -q -W --keep-going -d build/docs/doctrees docs build/docs/html

# does every link to another host lead somewhere? By hand: it needs a network, and hosts come and go
links: .venv/installed
	$(BIN)/sphinx-build -q -b linkcheck -d build/docs/doctrees docs build/docs/links

# the dashboard's and the site's tests drive it
chromium:
	@$(PYTHON) tests/dashboard/chromium.py

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-fresh .venv-lowest build dist *.egg-info
