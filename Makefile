# Two commands on a fresh clone: `make quickstart` and `make test`. Needs Python 3.11+ and make.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
EXTRA ?= $(if $(shell command -v nvidia-smi 2>/dev/null),cuda,cpu)
SOURCE ?= synthetic
QUICKSTART := din hstu popularity
BIN := .venv/bin

# uv ignores pip's find-links: hand them over. Where local wheels are given, the torch among them is
# taken instead of the one on PyTorch's own CPU index.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
ifneq ($(strip $(UV_FIND_LINKS)),)
export UV_NO_SOURCES_PACKAGE ?= torch
endif

# glibc gives large blocks back at once; page faults then take up to half of a training step.
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592
export MALLOC_MMAP_THRESHOLD_ ?= 8589934592

ifeq ($(PYTHON),)
$(error Python 3.11 or newer not found; give one as PYTHON=...)
endif

.PHONY: setup quickstart test lint clean
setup: .venv/installed

.venv/installed: pyproject.toml Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[$(EXTRA),dev]'
	$(BIN)/python -m recscale.models.installed
	@touch $@

quickstart: setup
	OMP_NUM_THREADS=1 $(BIN)/recscale compare $(QUICKSTART:%=configs/quickstart_%.yaml) data='{source: $(SOURCE)}' \
		--seeds 2 --jobs 2 --out runs/quickstart$(if $(filter-out synthetic,$(SOURCE)),-$(SOURCE))

# One thread each: two OpenMP threads on busy shared cores are slower than one.
test: setup
	OMP_NUM_THREADS=1 POLARS_MAX_THREADS=2 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

clean:
	rm -rf .venv runs prepared
