# Two commands to see Hexbite work: make demo, make test. Each sets up what it needs in .venv/.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PORT ?= 3000
ONCE ?=

# The first interpreter that is new enough; make PYTHON=/path/to/python names another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format lock bench-load bench-synthetic bench-training bench-serving bench-prefilter bench-stages task clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## the environment in .venv/, with pinned dependencies

$(INSTALLED): requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "error: Hexbite needs Python 3.11 or newer; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements/dev.txt
	@touch $@

demo: $(INSTALLED) ## a small world from parquet to an answer, served on PORT=3000; ONCE=1 ends after the answer
	@$(BIN)/python -m bento.demo --port "$(PORT)" $(if $(filter-out 0,$(ONCE)),--once)

test: $(INSTALLED) ## every test, on a Postgres of its own
	$(BIN)/python -m pytest

check: $(INSTALLED) ## format, lint, types, import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## what ruff can mend by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: $(INSTALLED) ## pin the dependency groups of pyproject.toml anew
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for group in service dev; do \
		$(BIN)/uv pip compile pyproject.toml --group $$group --universal --python-version 3.11 --no-header --no-annotate \
			--quiet --output-file requirements/$$group.txt $(CUDA:%=--no-emit-package %) || exit 1; done

# What a CUDA build of torch pulls in by itself: left out of the pins, so that they fit a CPU build too.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
	nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx

bench-load: $(INSTALLED) ## a million users and 100,000 restaurants into the feature store
	$(BIN)/python -m tests.benchmarks.bench_load

bench-synthetic: $(INSTALLED) ## five million click rows drawn
	$(BIN)/python -m tests.benchmarks.bench_synthetic

bench-training: $(INSTALLED) ## rows a second of training, beside the task's own loop
	$(BIN)/python -m tests.benchmarks.bench_training

bench-serving: $(INSTALLED) ## requests a second and latency of the service, beside the yardstick: 20 minutes
	$(BIN)/python -m tests.benchmarks.bench_serving

bench-prefilter: $(INSTALLED) ## the read of a neighbourhood, beside PostGIS and Redis: 10 minutes
	$(BIN)/python -m tests.benchmarks.bench_prefilter

bench-stages: $(INSTALLED) ## where a request's time goes, with plots in docs/performance/
	$(BIN)/python -m tests.benchmarks.bench_stages

task: $(INSTALLED) ## the whole task, 50 million rows and 5 epochs, twice: a quarter of an hour
	$(BIN)/python -m tests.benchmarks.task

clean: ## forget the demo's world; the model store and the feature store stay
	rm -rf data/demo
