# make demo: install into .venv and find the rare state of alanine dipeptide, blind (SEED=8: another path to it).
# make test: install and run the tests.
# make bench: from files to a model, against mdtraj, MDAnalysis, deeptime and PyEMMA; about 20 minutes. make bench-all: all benchmarks.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
SEED ?= 7

.PHONY: demo test lint bench bench-all clean
demo: $(READY)
	rm -rf demo
	$(BIN)/mdinsight sample example_trajs/ala2/top.pdb --forcefield amber99sb --solvent vacuum --budget '10 ns' --seed $(SEED) --out demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python benchmarks/ingest.py --profile

bench-all: $(READY)
	for script in benchmarks/[!_]*.py; do $(BIN)/python $$script || exit 1; done

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "mdinsight needs Python 3.11, 3.12 or 3.13 with venv; install one, or name it: make PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf .venv demo
