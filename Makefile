# Two commands do everything: `make run` serves, `make test` tests. Both set up .venv when they have to.

MAKEFLAGS += --no-print-directory
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup setup-run run test check bench bench-large chaos generated lock sbom

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name what; do printf 'make %-11s %s\n' "$$name" "$$what"; done
	@printf '\nARGS= is passed on: make test ARGS="-k fee"\n'

setup: ## Make .venv and install all locked dependencies, if that is still to be done
	@.ci/setup dev

setup-run: ## Make .venv and install what running needs, if that is still to be done
	@.ci/setup run

# The shell is replaced by the service, so that signals reach it; a stop by Ctrl-C is no error.
# -I: variables such as PYTHONPATH and PYTHONOPTIMIZE are meant for other programs.
run: setup-run ## Serve everything: API, worker, projector, demo gateway, and a Postgres of its own
	@exec $(PY) -I -m api.cli serve $(ARGS)

test: setup ## Run the tests, against a Postgres of their own
	@exec $(PY) -m pytest -n auto --dist worksteal $(ARGS)

check: setup ## Lint, format and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: setup ## Measure how fast it is here, beside pgbench on the same Postgres (ARGS="--scenario 2 --quick")
	@exec $(PY) -m api.cli bench $(ARGS)

bench-large: setup ## The same on a store of ten million events, and over a million payments: takes long
	@exec $(PY) -m api.cli bench --large $(ARGS)

chaos: setup ## Inject faults into the service for ten minutes, and compare its ledger with everything (ARGS="--minutes 1 --seed 7")
	@exec $(PY) -m tests.chaos.campaign $(ARGS)

generated: setup ## Write the files that follow from the code: .env.example, compose's settings, the reference pages
	@$(PY) -m api.settings.files
	@$(PY) -m tests.support.reference

lock: setup ## Resolve the dependencies anew (UPGRADE=1: to the newest allowed) into the lock files
	@.ci/lock

sbom: setup ## Write sbom.cdx.json, the components of the service (CycloneDX), from the lock file
	@$(PY) .ci/sbom.py
