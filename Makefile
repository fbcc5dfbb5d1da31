# Thin: the logic is in Python (sandbox/). `make up` and `make test` work from a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help update up down preview outputs demo pictures snapshot drift test lint types unit contract browser engine-test torture vagrant-test bench

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# A command ends with make, even if make is killed.
RUN := $(shell command -v setpriv >/dev/null && echo setpriv --pdeathsig TERM)
# A module's tests run in one process, which starts what they share, once. Three, since machines and pauses keep them
# waiting.
BY_MODULE := -v -n 3 --dist loadfile --no-loadscope-reorder
# Bytecode is kept, but not among the sources: otherwise pytest would recompile itself at every start.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/bytecode
# The slow parts are prepared while .venv is built.
up test engine-test: export WATCHPOST_PREPARE := yes

help:  ## Show the commands
	@sed -n -e 's/^##@ /\n/p' -e 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | expand -t 16

$(READY): requirements.txt requirements-dev.txt .ci/environment
	@PYTHON=$(PYTHON) $(RUN) bash .ci/environment

##@ The sandbox
up: $(READY)  ## Start the sandbox, deploy the stack, and show a table of links and proofs
	@$(RUN) $(BIN)/python -m sandbox up

down: $(READY)  ## Destroy the stack and stop the sandbox
	@$(RUN) $(BIN)/python -m sandbox down

preview: $(READY)  ## Show what `make up` would change
	@$(RUN) $(BIN)/python -m sandbox preview

outputs: $(READY)  ## Show the stack's outputs, as JSON
	@$(RUN) $(BIN)/python -m sandbox outputs

drift: $(READY)  ## Find changes made outside the stack
	@$(RUN) $(BIN)/python -m sandbox drift

demo: $(READY)  ## Run the monitor through its states and show their mail, in about a minute
	@$(RUN) $(BIN)/python -m sandbox demo

snapshot: $(READY)  ## Send a snapshot of the my_metric graph to the recipients
	@$(RUN) $(BIN)/python -m sandbox snapshot

pictures: $(READY)  ## Take the docs' pictures, with Chromium: about 20 minutes
	@$(RUN) $(BIN)/python -m sandbox pictures

##@ Checks
test: lint types unit  ## Run everything that CI checks
	@$(RUN) $(BIN)/python -m sandbox.prepare
	$(RUN) $(BIN)/python -m pytest tests/engine tests/contract tests/browser $(BY_MODULE) -m "not long"

lint: $(READY)  ## Check format, lint and workflows
	$(RUN) $(BIN)/ruff format --check .
	$(RUN) $(BIN)/ruff check .
	$(RUN) $(BIN)/python -m sandbox.workflows

types: $(READY)  ## Check types, strictly
	$(RUN) $(BIN)/mypy

unit: $(READY)  ## Test the program on Pulumi's mocks, in seconds
	$(RUN) $(BIN)/python -m pytest tests/unit -q -n 3

contract: $(READY)  ## Test against Datadog's own libraries
	$(RUN) $(BIN)/python -m pytest tests/contract -q -n 2 -m "not long"

browser: $(READY)  ## Test the sandbox's pages in Chromium; skipped without one
	$(RUN) $(BIN)/python -m pytest tests/browser -q -n 2

engine-test: $(READY)  ## Test on the sandbox, with the real engine
	@$(RUN) $(BIN)/python -m sandbox.prepare
	$(RUN) $(BIN)/python -m pytest tests/engine $(BY_MODULE) -m "not long"

##@ Long checks
torture: export WATCHPOST_KILLS ?= 50
torture: export WATCHPOST_SEED ?= $(shell date +%s)
torture: $(READY)  ## Run the long tests, and kill updates at random points, WATCHPOST_KILLS times
	$(RUN) $(BIN)/python -m pytest tests/contract tests/engine $(BY_MODULE) -m long
	$(RUN) $(BIN)/python -m pytest tests/torture -v -s

vagrant-test: $(READY)  ## Test a stack on a real Vagrant VM, emulated; takes half an hour
	@$(RUN) $(BIN)/python -m sandbox.prepare
	$(RUN) $(BIN)/python -m pytest tests/vagrant -v -s -x

bench: $(READY)  ## Run the benchmarks, side by side
	$(RUN) $(BIN)/python -m bench

##@ Upkeep
update: $(READY)  ## Upgrade the packages, pinned with their hashes; lists what changed (only some: PACKAGES="flask uv")
	@$(RUN) $(BIN)/python .ci/update.py $(PACKAGES)
