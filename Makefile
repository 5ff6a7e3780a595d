# Two commands do everything on a fresh machine: `make demo` and `make test`. The rest is for working on mmsls.
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
export OMP_NUM_THREADS ?= $(shell nproc 2>/dev/null || echo 2)
# Waiting threads sleep instead of spinning: without this, another busy process makes every training step many times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help setup demo demo-seg test test-long test-openmmlab lint format docs pictures tutorials bccd camvid zoo bench benchmarks clean

help:
	@echo 'make demo        set up if needed, then the whole chain on generated digit scenes (10 minutes on 2 cores)'
	@echo 'make demo-seg    the same scenes by pixel, in MMSegmentation (12 minutes on 2 cores)'
	@echo 'make test        set up if needed, then all tests (14 to 22 minutes on 2 idle cores)'
	@echo 'make test-long   the tests that take minutes: kills, damaged files by the ten thousand (under 40 minutes on 2 cores)'
	@echo 'make test-openmmlab  the tests on OpenMMLab'"'"'s own releases, in $(VENV)-openmmlab; TORCH=FILE names another torch than 2.5.1'
	@echo 'make lint        ruff, mypy, import-linter, vulture'
	@echo 'make docs        the docs site, into site/ (it loads nothing from elsewhere)'
	@echo 'make bccd        the chain on real blood-cell images (needs ../shared/data)'
	@echo 'make camvid      the chain on real road scenes with DeiT-Tiny (needs ../shared/data)'
	@echo 'make zoo         the task folders of the small real runs, into work_dirs/zoo (hours on 2 cores; needs ../shared/data)'
	@echo 'make bench       every bar of speed and memory beside what is measured for it (needs ../shared)'
	@echo 'make benchmarks  side-by-side measurements (scoring, probe, faithful and rule need ../shared; adapters.py and depths.py train for hours and take a config)'

setup:
	@$(PYTHON) requirements/setup_env.py $(VENV)

# Models this small gain nothing from a second thread, and on one the figures do not depend on the machine's cores.
demo demo-seg: export OMP_NUM_THREADS = 1

demo: setup
	$(PY) -m mmsls demo

demo-seg: setup
	$(PY) -m mmsls demo --seg

bccd: setup
	$(PY) benchmarks/pretrain_swin.py
	$(PY) tools/run_sls.py configs/bccd/tune.py --baseline configs/bccd/baseline.py --pruned configs/bccd/pruned.py --work-dir work_dirs/bccd

camvid: setup
	$(PY) tools/run_sls.py configs/camvid/tune.py --baseline configs/camvid/baseline.py --pruned configs/camvid/pruned.py --work-dir work_dirs/camvid

zoo: setup
	$(PY) benchmarks/model_zoo.py

# One process per core, a test file to each, in their own order: otherwise files of few and long tests come last, and one
# process waits for the other. Models this small gain nothing from a second thread.
# nproc would answer with OMP_NUM_THREADS where that is set.
test: export OMP_NUM_THREADS = 1
test: setup
	$(PY) -m pytest -n $$(env -u OMP_NUM_THREADS nproc) --dist loadfile --no-loadscope-reorder

test-long: setup
	$(PY) -m pytest -m long --timeout 2400

# OpenMMLab's own releases in an environment of their own: `make test-openmmlab TORCH=requirements/torch.txt` takes the
# newer torch, TESTS="tests/hooks -k resume" a part of the tests.
test-openmmlab: export OMP_NUM_THREADS = 1
test-openmmlab:
	@$(PYTHON) requirements/setup_env.py $(VENV)-openmmlab --stack openmmlab $(if $(TORCH),--torch $(TORCH))
	$(VENV)-openmmlab/bin/python -m pytest -n $$(env -u OMP_NUM_THREADS nproc) --dist loadfile $(TESTS)

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy mmsls
	$(VENV)/bin/lint-imports
	$(PY) -m vulture

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: setup
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

# What the pages show and a build does not make: the concept pictures (seconds), the tutorials' outputs (tens of minutes).
pictures: setup
	$(PY) docs/pictures.py

tutorials: export OMP_NUM_THREADS = 1
tutorials: setup
	$(PY) docs/machinery/doc_tutorials.py detector segmentor

bench: export OMP_NUM_THREADS = 1
bench: setup
	$(PY) benchmarks/bench.py --out work_dirs/bench.json

benchmarks: setup
	for name in fused_attention pruned_backbone tuning merge task_switching shared_trunk storage scoring probe faithful rule; do $(PY) benchmarks/$$name.py || exit 1; done

clean:
	rm -rf work_dirs site .pytest_cache .ruff_cache .mypy_cache
