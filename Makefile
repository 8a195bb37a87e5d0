# make table2   the demonstration: nine losses on digits, minutes on two cores
# make search   the other one: evolution designs a loss, minutes on two cores
# make test     every behaviour once, no network needed
# make test-all those that take long, too: whole trainings, kills, full disks, benchmarks
# make verify   recomputes the numbers of results/README.md that have committed rows; seconds
# make docs     the site, with its notebooks, into site/; minutes
# make figures the papers' figures that need no training, anew in figures/
# make soak     faults in full: some hundred trials, workers, nodes and drivers killed; whole
#               segmentation networks that learn an image by heart; an hour and more
# All make .venv first if it is missing. Options go through ARGS:
#     make table2 ARGS="--scale reduced --datasets cifar10"

PYTHON ?= python3
VENV ?= .venv
# CUDA's libraries only where there is a GPU to use them.
REQUIREMENTS ?= $(if $(shell command -v nvidia-smi 2>/dev/null),requirements.txt,requirements-cpu.txt)
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-$(REQUIREMENTS)

.PHONY: table2 search test test-all soak lint verify figures docs clean

table2: $(STAMP)
	$(BIN)/python reproduce/table2.py $(ARGS)

search: $(STAMP)
	$(BIN)/python reproduce/search.py $(ARGS)

# Two files at a time, in order: the longest are not left for last.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: override ARGS += -m ""
test-all: test

soak: $(STAMP)
	$(BIN)/python -m pip install --quiet "ray>=2.40"
	$(BIN)/python -m pytest -m "" --soak tests/runs/test_faults.py \
		tests/experiments/segmentation/test_training.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

verify: $(STAMP)
	$(BIN)/python reproduce/verify.py $(ARGS)

figures: $(STAMP)
	for figure in figure1 figure_a figure_b2 glo_figure2; do \
		$(BIN)/python reproduce/$$figure.py --out figures || exit 1; \
	done

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

$(STAMP): requirements.txt requirements-cpu.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -r $(REQUIREMENTS)
	touch $@

clean:
	rm -rf $(VENV)
