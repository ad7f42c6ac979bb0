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
.PHONY: help setup demo test test-slow check format lock bench-load bench-log bench-synthetic bench-training bench-serving bench-prefilter bench-stages bench-ids bench-events bench-visits bench-events-load bench-history task \
	image up down logs load psql deploy containers audit parity faults fuzz bench-overload clean

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## the environment in .venv/, with pinned dependencies

$(INSTALLED): requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "error: Hexbite needs Python 3.11 or newer; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements/dev.txt
	@touch $@

demo: $(INSTALLED) ## a small world from a log to an answer, served on PORT=3000; ONCE=1 ends after the answer
	@$(BIN)/python -m demo --port "$(PORT)" $(if $(filter-out 0,$(ONCE)),--once)

test: $(INSTALLED) ## every test but the slow ones, on a Postgres of its own: a quarter of an hour on two cores
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m "not slow"

test-slow: $(INSTALLED) ## what make test leaves out: real check-ins, benchmarks run small, parity: ten minutes
	$(BIN)/python -m pytest $(ON_ALL_CORES) -m slow

ON_ALL_CORES := --numprocesses auto --maxprocesses 4 --dist loadfile

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
	@# The image gets the versions that were tested: those of dev hold for service too.
	for group in dev service; do test $$group = dev || tested="--constraint requirements/dev.txt"; \
		$(BIN)/uv pip compile pyproject.toml --group $$group $$tested --universal --python-version 3.11 --no-header \
			--no-annotate --quiet --output-file requirements/$$group.txt $(CUDA:%=--no-emit-package %) || exit 1; done

# What a CUDA build of torch pulls in by itself: left out of the pins, so that they fit a CPU build too.
CUDA := cuda-bindings cuda-pathfinder cuda-toolkit triton nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
	nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
	nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx

bench-load: $(INSTALLED) ## a million users and 100,000 restaurants into the feature store
	$(BIN)/python -m tests.benchmarks.bench_load

bench-events-load: $(INSTALLED) ## events a second of a backfill of ten million, states included: ten minutes
	$(BIN)/python -m tests.benchmarks.bench_events_load

bench-history: $(INSTALLED) ## rows a second told what was counted before them, 50 million of 10 million events, beside DuckDB: five minutes
	$(BIN)/python -m tests.benchmarks.bench_history

bench-log: $(INSTALLED) ## events a second of an imported log of 50 million, beside DuckDB: five minutes
	$(BIN)/python -m tests.benchmarks.bench_log

bench-synthetic: $(INSTALLED) ## five million click rows drawn
	$(BIN)/python -m tests.benchmarks.bench_synthetic

bench-training: $(INSTALLED) ## rows a second of training, beside the task's own loop
	$(BIN)/python -m tests.benchmarks.bench_training

bench-serving: $(INSTALLED) ## requests a second and latency of the service, beside the yardstick, and with counters beside without: 30 minutes
	$(BIN)/python -m tests.benchmarks.bench_serving
	$(BIN)/python -m tests.benchmarks.bench_counters

bench-events: $(INSTALLED) ## events a second beside 50 recommendations a second: two minutes
	$(BIN)/python -m tests.benchmarks.bench_events

bench-prefilter: $(INSTALLED) ## the read of a neighbourhood, beside PostGIS and Redis: 10 minutes
	$(BIN)/python -m tests.benchmarks.bench_prefilter

bench-stages: $(INSTALLED) ## where a request's time goes, with plots in docs/performance/
	$(BIN)/python -m tests.benchmarks.bench_stages

bench-ids: $(INSTALLED) ## requests a second with 1,000 text candidates, beside integers: three minutes
	$(BIN)/python -m tests.benchmarks.bench_ids

bench-visits: $(INSTALLED) ## a drawn past learned, beside the best possible ranking of it: three minutes
	$(BIN)/python -m tests.benchmarks.bench_visits

audit: $(INSTALLED) ## known vulnerabilities of the pinned dependencies, where PyPI tells
	$(BIN)/python ops/audit.py

parity: $(INSTALLED) ## 5,000 requests told of counters what their training rows are told, twice: twenty minutes
	ASKS=5000 $(BIN)/python -m pytest --quiet tests/e2e/test_counter_parity.py

faults: $(INSTALLED) ## Postgres and workers broken under load, answers counted: four minutes
	$(BIN)/python -m pytest --quiet --capture=no tests/faults

bench-overload: $(INSTALLED) ## twice as many requests as it can answer, for a minute: three minutes
	$(BIN)/python -m tests.benchmarks.bench_overload

fuzz: $(INSTALLED) ## CASES=20000 requests of each kind, few of them right, to a served service: eight minutes; SEED=n draws others
	$(BIN)/python -m pytest --quiet tests/fuzz/fuzz_service.py

task: $(INSTALLED) ## the whole task, 50 million rows and 5 epochs, twice: a quarter of an hour
	$(BIN)/python -m tests.benchmarks.task

# Containers. MODEL is a tag in the model store; IMAGE an image that is there, in place of a model. TORCH=cpu wants
# TORCH_INDEX, the address of the index with torch's CPU builds or a folder of wheels; a folder that pip is told of serves.
MODEL ?=
IMAGE ?=
TORCH ?= cpu
TORCH_INDEX ?=
MODE ?= upsert
BUILD = BIN="$(BIN)" MODEL="$(MODEL)" IMAGE="$(IMAGE)" TORCH="$(TORCH)" TORCH_INDEX="$(TORCH_INDEX)" sh

image: $(INSTALLED) ## the image of MODEL=hexbite:latest and the code that lies here; TORCH=cpu or cuda
	@image=$$($(BUILD) ops/image.sh) && docker tag "$$image" hexbite:latest && echo "$$image"

up: $(INSTALLED) ## Postgres, two replicas and nginx in containers; COMPOSE_PROFILES=observe adds Prometheus and Grafana
	@$(BUILD) ops/up.sh

down: ## stop and remove the containers; the store stays
	@docker compose --profile observe --profile load down
	@echo "the store stays in the volume hexbite_store; docker volume rm hexbite_store removes it for good"

logs: ## what the containers say, as it comes
	@docker compose --profile observe logs --follow --tail 100

load: ## HEXBITE_DATA=data/demo into the store of the containers: MODE=upsert new and changed rows, MODE=replace all
	@docker compose run --rm load python -m db load /data --mode "$(MODE)"

psql: ## SQL on the store of the containers, from the keyboard or a pipe
	@docker compose exec --env PGOPTIONS=--search_path=hexbite $$(test -t 0 || echo -T) postgres psql --username hexbite_owner --dbname hexbite

deploy: $(INSTALLED) ## MODEL=hexbite:VERSION into both replicas, one after the other; IMAGE= goes back to one from before
	@$(BUILD) ops/deploy.sh

containers: $(INSTALLED) ## the containers tried on a Docker engine: a quarter of an hour
	$(BIN)/python -m pytest --quiet --capture=no tests/containers

clean: ## forget the demo's world; the model store and the feature store stay
	rm -rf data/demo data/demo-log
