#!/bin/sh
# Everything that is measured on a GPU, in under ten minutes, into work_dirs/gpu/: run it from the repository's root.
set -eu
python=${PYTHON:-.venv/bin/python}
mkdir -p work_dirs/gpu
"$python" benchmarks/on_gpu.py --minutes 7 --out work_dirs/gpu/on_gpu.json | tee work_dirs/gpu/on_gpu.txt
"$python" benchmarks/bench.py --parts forward pruned adapters tuning --out work_dirs/gpu/bench.json | tee work_dirs/gpu/bench.txt
