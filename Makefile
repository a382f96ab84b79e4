# Two commands matter: `make demo` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt

.PHONY: demo test setup figures pictures lint soak clean

demo: $(VENV)/.demo  ## the whole loop on the virtual microscope
	$(BIN)/cytoloop demo

test: setup lint  ## everything that must be true before a change lands
	$(BIN)/python -m pytest -q

setup: $(VENV)/.all  ## .venv with every extra that installs on this machine

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

figures: setup  ## the table by sequence: every shipped network, and the classical stages, on the development data
	$(BIN)/python benchmarks/perception.py --table

pictures: setup  ## make the README's pictures again
	$(BIN)/python benchmarks/pictures.py

soak: setup  ## longer checks: rates, losses and memory over minutes
	$(BIN)/python benchmarks/democam.py
	$(BIN)/python benchmarks/perception.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[cpu,watch,demo]'
	touch $@

$(VENV)/.all: $(VENV)/.demo
	$(PIP) -e '.[cpu,watch,demo,export,test]'
	for extra in rtx train; do $(PIP) -e ".[$$extra]" || echo "extra '$$extra' does not install on this machine: left out"; done
	if command -v nvidia-smi >/dev/null; then $(PIP) -e '.[tensorrt]' || echo "extra 'tensorrt' left out"; fi
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
