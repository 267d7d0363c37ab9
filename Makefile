# Everything runs inside .venv; each stamp there records one finished install,
# so a second call starts at once, and a changed pyproject.toml installs again.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
ARGS ?=

.DEFAULT_GOAL := help
MINUTES ?= 1
CRASHES ?= 200
.PHONY: help demo test thorough xla onnx fuzz fuzz-graphs sanitize damage crash oracle browser lint bench threads accuracy tables doctor-bench docs clean

help: ## list the targets
	@echo "usage: make TARGET [PYTHON=python3.12] [ARGS='options for pytest or the benchmark']"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

demo: $(VENV)/.chainrule ## install chainrule in .venv and train a network on handwritten digits
	$(VENV)/bin/chainrule train digits

test: $(VENV)/.test ## run the tests, about 10 minutes on two cores
	$(PY) -m pytest -n auto -m "not oracle and not slow and not browser and not thorough and not xla" $(ARGS)

thorough: $(VENV)/.test ## run the tests that make test leaves out: more cases of the same
	$(PY) -m pytest -n auto -m "thorough and not xla" $(ARGS)

damage: $(VENV)/.test ## flip every bit of a saved run, which takes 2 minutes
	$(PY) -m pytest -n auto -m slow tests/core/test_durable.py tests/train/test_saved_files.py $(ARGS)

fuzz: $(VENV)/.fuzz ## read damaged files of every kind, each for MINUTES=1
	$(PY) tests/fuzz/fuzz.py $(MINUTES) $(ARGS)

fuzz-graphs: $(VENV)/.test ## run random graphs on both engines for MINUTES=1, or those of SEED
	$(PY) -m tests.run.fuzz_graphs $(MINUTES) $(SEED) $(ARGS)

sanitize: $(VENV)/.test ## run the tests of emitted code with the address and thread sanitizers
	$(PY) -m tests.run.sanitize -m "not oracle and not slow and not browser and not thorough and not xla" $(ARGS)

oracle: $(VENV)/.oracle ## compare with PyTorch, and with what reads and writes frames and ONNX (large downloads)
	$(PY) -m pytest -n auto -m oracle $(ARGS)

xla: $(VENV)/.xla ## compare the engine on XLA with the interpreter, after installing JAX
	$(PY) -m pytest -n auto -m xla $(ARGS)

browser: $(VENV)/.browser docs ## open the pages and the site in a headless chromium, light and dark, wide and narrow
	$(PY) -m pytest -m browser tests/browser $(ARGS)

crash: $(VENV)/.test ## kill trainings at random moments, CRASHES=200 times, and compare what they end with
	CRASHES=$(CRASHES) $(PY) -m pytest -m slow tests/train/test_crash.py $(ARGS)

onnx: $(VENV)/.onnx ## compare exported models with onnxruntime, and run ONNX's own tests of backends
	$(PY) -m pytest -n auto tests/interop tests/fuzz tests/test_docs.py -k "interop or onnx or embedded" $(ARGS)
	$(PY) -m tests.interop.onnx_suite

lint: $(VENV)/.dev ## check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(VENV)/.test ## measure speed, beside the frameworks that are installed (see bench/README.md)
	$(PY) bench/speed.py $(ARGS)

threads: $(VENV)/.test ## compare the number of threads that is chosen with the best fixed one
	$(PY) bench/threads.py $(ARGS)

accuracy: $(VENV)/.test ## measure accuracy on the built-in data sets (takes minutes)
	$(PY) bench/accuracy.py $(ARGS)

tables: $(VENV)/.tables ## compare the defaults for tables with boosted trees and other networks (takes hours)
	$(PY) bench/tables.py --seeds 3 --write $(ARGS)

doctor-bench: $(VENV)/.test ## measure how often the doctor is right and how often it raises a false alarm, and what it costs (takes 15 minutes)
	$(PY) bench/doctor.py --healthy 120 --injected 2 --cures 1 $(ARGS)
	$(PY) bench/watch_cost.py

docs: $(VENV)/.docs ## build the site of the documentation in build/site, and the notebooks in build/notebooks
	$(PY) docs/site_source.py
	$(PY) -m sphinx -W -n --keep-going -q -c docs -d build/site-doctrees build/site-source build/site
	@echo "make: the site is in build/site/index.html"

clean: ## remove .venv and everything built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find chainrule tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "make: no '$(PYTHON)' on the PATH; install Python 3.10 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: chainrule needs Python 3.10 or newer, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1); name another: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) lacks the venv module; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "make: making the virtual environment $(VENV)"
	"$(PYTHON)" -m venv --clear $(VENV)

$(VENV)/.chainrule: pyproject.toml | $(PY)
	@echo "make: installing chainrule and what it needs in $(VENV); the first time this takes half a minute"
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(PY)
	$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.chainrule

$(VENV)/.oracle: $(VENV)/.test
	$(PIP) --editable '.[test,oracle]'
	@touch $@

$(VENV)/.xla: $(VENV)/.test
	$(PIP) --editable '.[test,xla]'
	@touch $@

$(VENV)/.tables: $(VENV)/.test
	$(PIP) --editable '.[test,tables]'
	@touch $@

$(VENV)/.fuzz: $(VENV)/.test
	$(PIP) --editable '.[test,fuzz,onnx]'
	@touch $@

$(VENV)/.browser: $(VENV)/.test
	$(PIP) --editable '.[test,browser]'
	@touch $@

$(VENV)/.onnx: $(VENV)/.test
	$(PIP) --editable '.[test,onnx]'
	@touch $@

$(VENV)/.docs: $(VENV)/.test
	$(PIP) --editable '.[test,docs]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) --editable '.[test,dev]'
	@touch $@
