# Kho Chung: `make run` does the main job, `make test` passes the tests. Everything else: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= python3.11
READY := $(VENV)/.installed-$(shell cat requirements.lock requirements-bootstrap.txt | sha256sum | cut -c1-16)
# What the product is compared with (dlt) is no part of it and has an environment of its own.
BENCH := .venv-bench/.installed-$(shell sha256sum benchmarks/requirements.lock | cut -c1-16)
export PYTHONPATH := $(CURDIR)

.PHONY: help install run up down bench psql url rejects docs clean test lint .lint-types .lint-sql prove lock logs

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY)  ## Install everything into .venv (the other commands do this by themselves)

$(READY): requirements.lock requirements-bootstrap.txt
	@command -v $(PYTHON) >/dev/null || { echo "kho chung: looked for $(PYTHON) on PATH and found none; install Python 3.11, or set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing into $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-bootstrap.txt
	@# uv takes seconds; pip takes minutes, but knows the mirrors and certificates of a pip.conf.
	@$(VENV)/bin/uv pip sync --quiet --system-certs --python $(PY) --require-hashes requirements.lock \
	  || $(PY) -m pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@touch $@

run: $(READY)  ## Pull, load, build, check, publish once (PERIOD=2024-06, 2024, or 2025-06-16/2025-07-15)
	@$(PY) -m ops run $(if $(PERIOD),--period $(PERIOD))

up: $(READY)  ## Keep scheduler, Airflow page, sandbox and published site running
	@$(PY) -m ops up

down: $(READY)  ## Stop everything; nothing is left running
	@$(PY) -m ops down

psql: $(READY)  ## Enter the warehouse with psql
	@$(PY) -m ops psql

url: $(READY)  ## Print the warehouse's URL (make -s url LOGIN=analyst), starting the embedded server if it is down
	@$(PY) -m ops url $(LOGIN)

logs: $(READY)  ## Show the ends of the services' logs
	@$(PY) -m ops logs

rejects: $(READY)  ## List rejected records (python -m ops rejects show, replay --dry-run, replay)
	@$(PY) -m ops rejects list

docs: $(READY)  ## Write the catalogue of tables and columns (var/docs/index.html), Vietnamese and English, to open offline
	@$(PY) -m ops docs

lint: $(READY)  ## ruff, mypy, sqlfluff, yamllint
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .
	@$(VENV)/bin/yamllint --strict .
	@$(MAKE) --no-print-directory --jobs=2 --output-sync .lint-types .lint-sql

.lint-types:
	@$(PY) -m mypy connectors vault landing national ops opendata expectations sandbox benchmarks

.lint-sql:
	@$(VENV)/bin/sqlfluff lint --processes 1 dbt/models dbt/tests

test: lint  ## Lint, then all tests but the slow proofs (two files at a time)
	@$(PY) -m pytest -m "not prove" -q -n 2 --dist loadfile --no-loadscope-reorder

prove: $(READY)  ## The slow proofs: kills, load, a clean clone
	@$(PY) -m pytest -m prove -q

bench: $(READY) $(BENCH)  ## Speed side by side, as ratios from one run
	@$(PY) -m benchmarks

$(BENCH): benchmarks/requirements.lock $(READY)
	@$(VENV)/bin/uv venv --quiet --clear --python $(PY) .venv-bench
	@$(VENV)/bin/uv pip sync --quiet --system-certs --python .venv-bench/bin/python --require-hashes benchmarks/requirements.lock
	@touch $@

lock: $(READY)  ## Resolve requirements.in again, with hashes
	@$(VENV)/bin/uv pip compile --system-certs --quiet --generate-hashes --no-emit-index-url --python-version 3.11 requirements.in -o requirements.lock
	@$(VENV)/bin/uv pip compile --system-certs --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 -c requirements.lock benchmarks/requirements.in -o benchmarks/requirements.lock
	@$(VENV)/bin/uv pip compile --system-certs --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 -c requirements.lock docker/requirements.in -o docker/requirements.lock

clean: $(READY)  ## Stop everything and remove all state (var/ or KHOCHUNG_HOME)
	@$(PY) -m ops down
	@$(PY) -m ops clean
