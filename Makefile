# Thin: the logic is in Python (sandbox/). `make up` and `make test` work from a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help update up down preview outputs demo snapshot drift test lint types unit contract browser engine-test torture vagrant-test bench

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# A command that make began ends with it, even if make is killed.
RUN := $(shell command -v setpriv >/dev/null && echo setpriv --pdeathsig TERM)
# Kept, but not among the sources: pytest would compile itself anew at every start.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/bytecode
# What takes minutes is made while .venv is.
up test engine-test: export WATCHPOST_PREPARE := yes

help:  ## Show the commands
	@sed -n -e 's/^##@ /\n/p' -e 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 16

$(READY): requirements.txt requirements-dev.txt .ci/environment
	@PYTHON=$(PYTHON) $(RUN) bash .ci/environment

##@ The sandbox
up: $(READY)  ## The whole: sandbox, stack, and a table of links and proofs
	@$(RUN) $(BIN)/python -m sandbox up

down: $(READY)  ## Destroy the stack and stop the sandbox
	@$(RUN) $(BIN)/python -m sandbox down

preview: $(READY)  ## What `make up` would change
	@$(RUN) $(BIN)/python -m sandbox preview

outputs: $(READY)  ## The outputs of the stack, as JSON
	@$(RUN) $(BIN)/python -m sandbox outputs

drift: $(READY)  ## What was changed behind the stack's back
	@$(RUN) $(BIN)/python -m sandbox drift

demo: $(READY)  ## The monitor's states and their mail, in about a minute
	@$(RUN) $(BIN)/python -m sandbox demo

snapshot: $(READY)  ## Send a snapshot of the my_metric graph to the recipients
	@$(RUN) $(BIN)/python -m sandbox snapshot

##@ Checks
test: lint types unit contract browser engine-test  ## Everything that CI checks

lint: $(READY)  ## Format and lint
	$(RUN) $(BIN)/ruff format --check .
	$(RUN) $(BIN)/ruff check .
	$(RUN) $(BIN)/python -m sandbox.workflows

types: $(READY)  ## Strict types
	$(RUN) $(BIN)/mypy

unit: $(READY)  ## The program under Pulumi's mocks: seconds
	$(RUN) $(BIN)/python -m pytest tests/unit -q -n 2

contract: $(READY)  ## Against Datadog's own libraries
	$(RUN) $(BIN)/python -m pytest tests/contract -q -n 2 -m "not long"

browser: $(READY)  ## The sandbox's pages in Chromium; skipped where there is none
	$(RUN) $(BIN)/python -m pytest tests/browser -q -n 2

engine-test: $(READY)  ## The real engine on the sandbox
	@$(RUN) $(BIN)/python -m sandbox.prepare
	$(RUN) $(BIN)/python -m pytest tests/torture tests/engine -v -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

##@ Long checks
torture: export WATCHPOST_KILLS ?= 50
torture: export WATCHPOST_SEED ?= $(shell date +%s)
torture: $(READY)  ## The long tests; and killed at random points, WATCHPOST_KILLS times
	$(RUN) $(BIN)/python -m pytest tests/contract tests/engine -v -n 2 --dist loadfile -m long
	$(RUN) $(BIN)/python -m pytest tests/torture -v -s

vagrant-test: $(READY)  ## A stack on a real Vagrant VM, emulated: half an hour
	@$(RUN) $(BIN)/python -m sandbox.prepare
	$(RUN) $(BIN)/python -m pytest tests/vagrant -v -s -x

bench: $(READY)  ## Timings, side by side
	$(RUN) $(BIN)/python -m bench

##@ Upkeep
update: $(READY)  ## Newer packages, pinned with their hashes; says what changed (PACKAGES="flask uv": these alone)
	@$(RUN) $(BIN)/python .ci/update.py $(PACKAGES)
