# Headrace: `make train` and `make test` each set up what they need, from Python 3.11 and make alone.

.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(shell command -v python3.11 python3) python3.11)
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := proto services/actor services/learner services/replay-gate deploy/local
SOURCES := $(PACKAGES) deploy/grafana deploy/images deploy/kubernetes deploy/supply_chain tests $(wildcard bench)
INSTALLED := $(VENV)/.installed
BENCHMARKS := end_to_end gate weights staleness scaling startup profiles soak lag

GAME ?= breakout
ACTORS ?=
ARGS ?=

.PHONY: help
help: ## Show this list.
	@echo 'make train GAME=breakout ACTORS=4 ARGS="--steps 2000000"'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

.PHONY: install
install: $(INSTALLED) ## Make .venv with every package and .venv/bin/headrace.

$(INSTALLED): requirements.lock $(addsuffix /pyproject.toml,$(PACKAGES))
	@echo "installing into $(VENV): a minute or two the first time"
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		$(foreach package,$(PACKAGES),--editable $(package))
	@$(BIN)/python deploy/supply_chain/kubectl.py $(BIN)
	touch $@

.PHONY: train
train: install ## Train: GAME, ACTORS (empty: from the cores), ARGS for any other flag.
	@exec $(BIN)/headrace train $(if $(GAME),--game $(GAME)) $(if $(ACTORS),--actors $(ACTORS)) $(ARGS)

.PHONY: test
test: lint ## Lint, check types and imports, run every test.
	$(BIN)/pytest --numprocesses 2 --dist loadfile

.PHONY: prove
prove: install ## Explore every state of gate, actors and learner in small worlds: minutes (docs/guarantees.md).
	PYTHONPATH=tests $(BIN)/python -m ledger_model

.PHONY: chaos
chaos: install ## Faults on the real services, as root: ARGS="--minutes 20 --seed 1" (docs/guarantees.md).
	PYTHONPATH=tests $(BIN)/python -m chaos $(ARGS)

.PHONY: fuzz
fuzz: install ## Fuzz what reads from sockets and files: ARGS="--target decoder --runs 1000000" (docs/security.md).
	PYTHONPATH=tests $(BIN)/python -m fuzzing $(ARGS)

.PHONY: siege
siege: install ## Train under attack, and print how fast, and what the gate takes: ARGS=--keys (docs/security.md).
	PYTHONPATH=tests $(BIN)/python -m siege $(ARGS)

.PHONY: bench
bench: install ## A quick round of every benchmark but against_peers; docs/performance.md says how to get figures to quote.
	@for benchmark in $(BENCHMARKS); do $(BIN)/python bench/$$benchmark.py --quick; done

.PHONY: test-containers
test-containers: install ## Build the images and run them with compose: needs a Docker engine, Compose 2.24 and Buildx.
	$(BIN)/pytest tests/containers --timeout 1800

.PHONY: test-kubernetes
test-kubernetes: install ## Build the images and run deploy/kubernetes on the cluster of KUBECONFIG, whose node has this engine.
	$(BIN)/pytest tests/kubernetes --timeout 3600 -rP

.PHONY: lint
lint: install ## Check style, types and import directions.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

.PHONY: format
format: install ## Format, and mend what ruff can mend.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: lock
lock: $(INSTALLED) ## Resolve requirements.lock anew from every pyproject.toml (--upgrade: ARGS=--upgrade).
	$(BIN)/uv pip compile requirements.in --group dev --quiet $(ARGS) \
		--python-version 3.11 --python-platform linux --no-annotate --custom-compile-command 'make lock' \
		$(foreach name,proto actor learner gate local,--no-emit-package headrace-$(name)) \
		--output-file requirements.lock
	sed -i 's/^atheris==[^ ]*$$/& ; platform_machine == "x86_64"/' requirements.lock

.PHONY: sbom
sbom: install ## Write build/sbom.cdx.json (CycloneDX) and build/licences.txt from the lock.
	$(BIN)/python deploy/supply_chain/bill_of_materials.py requirements.lock build

.PHONY: clean
clean: ## Remove .venv and caches; runs/ stays.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build
	find $(PACKAGES) tests -name __pycache__ -prune -exec rm -rf {} +
