# The two commands of the README are `make test` and `make book`; both make the environment if it is missing.
PYTHON ?= python3
BIN := .venv/bin
ENV := .venv/.installed
INSTALL := python -m pip install --quiet --disable-pip-version-check --no-compile

# Small matrices gain nothing from more threads than this.
export OMP_NUM_THREADS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n : 4)))
export TOKENIZERS_PARALLELISM = false
# Some images set it; every kernel would then compile PyTorch and transformers anew, ten seconds each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env test book html pdf archive lint check clean

help:
	@echo "make env      the environment in .venv, with the versions of requirements.txt"
	@echo "make test     the whole test suite"
	@echo "make book     execute every notebook on the demo profile and render the book to _build/html"
	@echo "make html     render the published edition from the committed notebooks, executing nothing"
	@echo "make pdf      the rendered edition as one PDF, _build/book.pdf; needs Chromium"
	@echo "make archive  the rendered edition with its Records and tables as one file, an RO-Crate"
	@echo "make check    the gates on Records, notebooks and pages"
	@echo "make lint     ruff, and mypy over the library"
	@echo "make clean    remove everything that was built, except .venv"

env: $(ENV)

# With today's pip, if it is to be had: it is faster than what Python brings. Two at a time, since one uses one core to
# read the index and to unpack; the line after that adds what these versions need on this machine alone, CUDA's
# libraries for one, and checks the rest. Python compiles what is imported, once, and all 19,000 modules take minutes:
# here only what every notebook imports is compiled, on the other core.
$(ENV): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "xtcq needs Python 3.11, 3.12 or 3.13: say which with make env PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	-$(BIN)/$(INSTALL) --upgrade pip
	grep == requirements.txt | xargs -P 2 -n 26 $(BIN)/$(INSTALL) --no-deps
	$(BIN)/python -c "import snakemake.cli, papermill, scipy.stats, matplotlib.pyplot, transformers.trainer" 2>/dev/null & \
	$(BIN)/$(INSTALL) -r requirements.txt
	$(BIN)/$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

test: $(ENV)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

book: $(ENV)
	$(BIN)/snakemake --config profile=demo jobs=2

html: $(ENV)
	$(BIN)/python workflow/render.py --edition published

pdf: html
	$(BIN)/python workflow/pdf.py

archive: $(ENV)
	$(BIN)/python workflow/archive.py

lint: $(ENV)
	$(BIN)/ruff check .
	$(BIN)/mypy

check: $(ENV)
	$(BIN)/python -m xtcq_book check

clean:
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis .snakemake
