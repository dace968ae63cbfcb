# One command from a fresh clone to a working suite; `make help` lists them.
# Every step leaves a stamp inside the environment: a broken run resumes where it stopped.

VENV ?= .venv
PYTHON ?= python3
WHEELHOUSE ?=
PYTEST_ARGS ?=
FAULTS ?=

PY := $(VENV)/bin/python
STAMPS := $(VENV)/.casvit
# torch warns at every import while numpy is not there yet.
SETUP_ENV := $(PY) -W ignore tools/setup_env.py
LOCK := requirements/lock.txt

# $(call step,name,expected time on two cores,command): says both, runs, says the real time.
define step
	@mkdir -p $(STAMPS)
	@echo "==> $(1) (about $(2) on two cores)"; start=$$(date +%s); $(3) \
	  && echo "    $(1): $$(($$(date +%s) - start)) s" && touch $@
endef

# Set in many containers; without byte code the suite takes a third longer (7:59 for 5:54 min).
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help setup test demo faults lint speed speed-page results-page doctor clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1  	/p' Makefile
	@echo "Variables: VENV=$(VENV) (may be an environment that has a torch; it stays)"
	@echo "           PYTHON=$(PYTHON) (makes VENV)  WHEELHOUSE=dir (has a built onedl-mmcv)"
	@echo "           PYTEST_ARGS=... (for make test)"

setup: $(STAMPS)/opencv  ## environment, torch, mmcv, the project

# One process a core, a test file in one of them: its tests share what they set up. Each takes a
# gigabyte of memory and seconds to start, so that more than eight do not pay.
test: setup  ## set-up and the test suite
	$(PY) -m pytest -n auto --maxprocesses 8 --dist loadfile $(PYTEST_ARGS)

# One thread: a second one saves a quarter of the time on idle cores, but threads that wait for each
# other spin, and beside other work that makes training ten times slower.
demo: setup  ## set-up, then three models trained and evaluated on generated data
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(VENV)/bin/casvit-dense demo

faults: setup  ## breaks runs in every way and compares; hours (FAULTS=--quick: a part of each)
	@failed=; for script in tests/faults/*.py; do echo "==> $$script"; \
	  OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) $$script $(FAULTS) || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "missed:$$failed"; exit 1; }

speed: setup  ## every CPU figure of docs/speed.md; says how long that takes
	$(VENV)/bin/casvit-dense benchmark --suite cpu --ledger docs/speed/cpu.jsonl
	$(VENV)/bin/casvit-dense benchmark --suite paper --ledger docs/speed/paper.jsonl
	$(MAKE) speed-page

speed-page: setup  ## tables and charts of docs/speed.md from docs/speed/*.jsonl
	$(VENV)/bin/casvit-dense benchmark --page docs/speed.md

results-page: setup  ## docs/results.md, the README's table and the metafiles, from rows and targets
	$(VENV)/bin/casvit-dense results

lint: setup  ## lint, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy casvit_dense

# Runs the file, not the program: it has to speak where importing the package fails.
doctor: $(STAMPS)/torch  ## what is installed, what works, what to do about the rest
	@$(PY) -c "import runpy; runpy.run_path('casvit_dense/doctor.py', run_name='__main__')"

clean:  ## stamps, build folders and tool caches; the environment and built wheels stay
	rm -rf $(STAMPS) .cache/build build dist .mypy_cache .pytest_cache .ruff_cache

$(STAMPS)/venv:
	$(call step,environment $(VENV),10 s,\
	  { $(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV); })

$(STAMPS)/torch: $(STAMPS)/venv requirements/build.txt $(LOCK)
	$(call step,torch and build tools,40 s,$(SETUP_ENV) torch)

$(STAMPS)/mmcv: $(STAMPS)/torch
	$(call step,onedl-mmcv,10 s from a wheel or 4 min from source,\
	  $(SETUP_ENV) mmcv --wheelhouse "$(WHEELHOUSE)")

$(STAMPS)/packages: $(STAMPS)/mmcv pyproject.toml
	$(call step,casvit-dense and its needs,1 min,$(SETUP_ENV) packages)

$(STAMPS)/opencv: $(STAMPS)/packages
	$(call step,OpenCV without libGL,10 s,$(SETUP_ENV) opencv)
