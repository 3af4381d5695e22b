# make help lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 5000
VENV := .venv
BIN := $(VENV)/bin
# Rooms whose tests start no process and train no network for long.
QUICK := $(addprefix tests/,backbones config data evaluation serving statistics study test_cli.py test_project_file.py)
# Scripts that MLflow starts find the environment's python, mlflow and uv first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup demo ui notebooks screenshots clean-store test test-quick check fuzz bench bench-quick mlproject docs

help:  ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.complete  ## Create .venv with all dependencies (UV_TORCH_BACKEND=cpu selects CPU-only torch).

$(VENV)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: Python 3.11 or newer is needed, got $$($(PYTHON) --version); name one: make setup PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@# Bytecode is compiled now: MLflow and its libraries take 2.5 s more to import without it.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --group dev --editable .
	@touch $@

$(VENV)/.bench: $(VENV)/.complete
	@# The peers' libraries, which nothing else needs.
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --group bench
	@touch $@

demo: setup  ## Run the whole study on the bundled digits, tracked in MLflow (V=1 prints everything).
	@# Without V=1, MLflow logs only warnings.
	$(if $(V),RESNET_MLFLOW_VERBOSE=1,MLFLOW_LOGGING_LEVEL=WARNING) mlflow run . --env-manager local --experiment-name resnet-mlflow
	@echo "See the runs in MLflow: make ui, then open http://127.0.0.1:$(PORT)"

ui: setup  ## Serve MLflow with the runs made here (PORT=5000).
	mlflow server --host 127.0.0.1 --port $(PORT)

notebooks: setup  ## Run the notebooks on the runs made here, and save them with their results beside the text form.
	python -m analysis.notebook

screenshots: setup  ## Take the pictures in docs/images of the report and of MLflow's pages, from the runs of make demo.
	PYTHONPATH=tests python tests/e2e/screenshots.py $(or $(STORE),.)

clean-store:  ## Delete the runs, models, report and features made here: CONFIRM=yes make clean-store.
	@store="mlflow.db mlruns mlartifacts report"; cache="$${RESNET_MLFLOW_CACHE:-$$HOME/.cache/resnet-mlflow}"; \
	if [ "$(CONFIRM)" != yes ]; then \
	    echo "would delete $$store in $(CURDIR), and $$cache; to do so: CONFIRM=yes make clean-store"; exit 2; \
	fi; \
	if [ -n "$$MLFLOW_TRACKING_URI" ]; then \
	    echo "error: MLFLOW_TRACKING_URI must not be set, got $$MLFLOW_TRACKING_URI: see docs/cleaning.md"; exit 2; \
	fi; \
	rm -rf $$store "$$cache" && echo "deleted $$store and $$cache"

test: setup  ## Run the tests.
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal tests

test-quick: setup  ## Run the tests that fit into two minutes, between commits.
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist worksteal -q -m "not slow" $(QUICK)

check: setup  ## Check formatting, lint, types, import directions and doctests.
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	OMP_NUM_THREADS=1 python -m pytest -q --doctest-modules --ignore analysis/notebooks resnet_mlflow analysis

fuzz: setup  ## Run damaged images through all decoders, and 5000 requests through the model server; takes minutes.
	OMP_NUM_THREADS=1 python tests/fuzz/fuzz.py
	OMP_NUM_THREADS=1 FUZZ_REQUESTS=5000 python -m pytest -q -s tests/e2e/test_model_server.py -k damaged_files

bench: $(VENV)/.bench  ## Measure speed against plain peers; writes benchmarks/results.md.
	python -m benchmarks

bench-quick: $(VENV)/.bench  ## The same with fewer images and repetitions, in under 3 minutes; names what has become slower.
	python -m benchmarks --quick

mlproject: setup  ## Generate MLproject and the tables in the docs from configuration and registries.
	python -m resnet_mlflow.project_file
	python -m resnet_mlflow.robustness.documentation
	python -m analysis.documentation

docs: setup  ## Build the documentation as a site in build/site; a broken link is an error.
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "Open build/site/index.html"
