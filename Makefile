# A fresh clone needs nothing but `make run` or `make test`: every target below `install` sets the environment up first.
# Arguments for the command line: make run ARGS="--images photographs/"

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first of these that is 3.11 or newer and can make virtual environments; override with PYTHON=...
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	$$name -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$name && break; done)
# That of the machine with the GPU, where torch is installed.
GPU_PYTHON ?= python3
ARGS ?=
# Tests of two files at a time, also where there are more cores: many start a Ray session or hold a network of paper size.
WORKERS ?= 2
AT_ONCE := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Containers often set it. Then every process of the tests, hundreds, compiles this project's modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run run-from-nothing pretrain seal clean-round serve stop evidence test tests check quick lint style types faults parity paper-smoke bench bench-paper bench-scale gpu-pack bench-gpu mutants nightly docs vendor clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

install: $(STAMP) ## the environment in .venv, as pinned in constraints.txt; all other targets do this by themselves

$(STAMP): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "adhmr-engine needs Python 3.11 or newer with venv and pip: install it (Debian: python3 python3-venv) or name one with PYTHON=..." >&2; \
		exit 1; fi
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) with $$($(BIN)/python --version): some minutes and about 3 GB the first time."
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e ".[s3,dev]"
	@touch $@

run: $(STAMP) ## a whole round: what is missing is made first, a killed run goes on, the next run is the next round
	@$(BIN)/adhmr run $(ARGS)

run-from-nothing: $(STAMP) ## the same after its encoder was pretrained here (82 minutes on an older processor), in place of the shipped
	$(BIN)/python -m tasks.pretrain --output .pretrain/encoder.safetensors
	@$(BIN)/adhmr run --campaign from-nothing --set start.encoder=.pretrain/encoder.safetensors $(ARGS)

pretrain: $(STAMP) ## the encoder that ships, from nothing on two cores; what was stopped goes on (models/data/README.md)
	$(BIN)/python -m tasks.pretrain $(ARGS)

clean-round: $(STAMP) ## a cleaning round: pseudo-label, score, keep the best, train on them
	@$(BIN)/adhmr clean $(ARGS)

serve: $(STAMP) ## Prefect server, worker and Ray on this machine, deployments registered; again: what has died, anew
	@$(BIN)/python -m flows.serve.commands start $(ARGS)

stop: $(STAMP) ## ends what make serve has started
	@$(BIN)/python -m flows.serve.commands stop $(ARGS)

seal: $(STAMP) ## draws test people and seeds for the recipe that is committed; make evidence opens them, once
	$(BIN)/python -m tests.evidence.seal $(ARGS)

evidence: $(STAMP) ## the numbers of docs/evidence.md and README: the sealed seeds with their controls (long)
	$(BIN)/python -m tests.evidence $(ARGS)

lint: style types ## style, types and the arrows between the packages

style: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

check: $(STAMP) ## lint and the quick tests, beside each other
	@$(MAKE) --no-print-directory -j2 lint quick

quick: $(STAMP) ## the quick tests
	OMP_NUM_THREADS=1 $(BIN)/pytest $(AT_ONCE) -m "not slow and not nightly and not paper and not faults"

test: style ## lint and all tests but the nightly ones, paper-smoke and the longer half of the faults
	@# what mypy found stands among the dots of the tests: it says so once more at the end
	@$(MAKE) --no-print-directory -j2 types tests || { $(BIN)/mypy --no-error-summary; false; }

tests: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/pytest $(AT_ONCE) --durations=15 -m "not nightly and not paper and not faults"

faults: $(STAMP) ## every fault that the engine must survive, with a line for each; some: make faults ARGS="S3 disk"
	$(BIN)/python -m tests.faults $(ARGS)

mutants: $(STAMP) ## wrong lines in the science and the protocol, each against the tests that must notice it (long)
	$(BIN)/python -m tests.mutants $(ARGS)

nightly: $(STAMP) ## the tests that take minutes each
	$(BIN)/pytest -m nightly

parity: $(STAMP) ## against golden outputs of the published code; another set: ADHMR_PARITY_DIR=/elsewhere make parity
	$(BIN)/pytest tests/parity

paper-smoke: $(STAMP) ## the paper's pipeline at its own sizes, from published files to published files, on a CPU
	$(BIN)/pytest -s -m paper tests/paper

bench: $(STAMP) ## timings
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-scale: $(STAMP) ## what many people cost, with models that compute nothing: make bench-scale ARGS="10000 100000 --s3"
	$(BIN)/python -m tests.benchmarks.scale $(ARGS)

bench-paper: $(STAMP) ## figures at the published sizes, as ratios of one run, into docs/benchmarks.md (ten to twenty minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.paper $(ARGS)

gpu-pack: $(STAMP) ## wheels that make bench-gpu needs on a machine from which nothing can be downloaded, into gpu-pack/
	$(BIN)/python -m tests.benchmarks.pack $(ARGS)

bench-gpu: ## parity and figures on a GPU, with the machine's own torch (GPU_PYTHON=...); six minutes at most
	@if ls gpu-pack/*.whl >/dev/null 2>&1; then \
		$(GPU_PYTHON) -m pip install -q --no-index --no-deps --upgrade --target gpu-pack/site gpu-pack/*.whl; fi
	PYTHONPATH=gpu-pack/site:. $(GPU_PYTHON) -m tests.benchmarks.gpu $(ARGS)

docs: $(STAMP) ## the documentation site, of docs/ and of the code, into build/docs
	$(BIN)/python -m tests.maintenance.site $(ARGS)

vendor: $(STAMP) ## fetches the scripts of others that adhmr browse and reports need from npm: make vendor ARGS=--renew
	$(BIN)/python -m tests.maintenance.vendor $(ARGS)

clean: ## build products and caches; never the environment or a store
	@find . \( -path ./$(VENV) -o -path ./.git -o -name 'adhmr-store*' -o -name 'adhmr-serve*' \) -prune -o -type d -name __pycache__ -print0 | xargs -0 rm -rf
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis .cache
	@echo "Removed build products and caches. $(VENV) and the store stay: delete them by hand if you mean to."
