#!/usr/bin/env bash
# For a machine that has a GPU for a quarter of an hour and no network: benchmarks, or the study and its Records.
#
#   workflow/gpu.sh benchmarks FOLDER
#   workflow/gpu.sh study FOLDER MINUTES [STUDY.json]
#
# FOLDER takes the results: JSON of the benchmarks; one archive of Records, which `python -m xtcq study import` reads.
# XTCQ_DATA and XTCQ_MODELS say where data and encoder are; XTCQ_COMMIT names the commit in a copy without history.
set -u
what=$1
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# Checkpoints are written every few seconds here, and may be lost with the machine: memory will do.
export XTCQ_RUNS=${XTCQ_RUNS:-/dev/shm/xtcq-runs}

# Without NVIDIA's multi-process service, processes take turns on the card; with it their small kernels run together.
export CUDA_MPS_PIPE_DIRECTORY=/tmp/mps CUDA_MPS_LOG_DIRECTORY=/tmp/mps
if [ "${MPS:-1}" = 1 ] && command -v nvidia-cuda-mps-control >/dev/null; then
  mkdir -p /tmp/mps
  nvidia-cuda-mps-control -d && trap 'echo quit | nvidia-cuda-mps-control' EXIT
fi

case $what in
  benchmarks)
    timeout 60 python3 benchmarks/side_by_side.py --processes 12 --compute bf16 --json "$out/side_by_side-cuda.json"
    timeout 60 python3 benchmarks/quantizer_kernels.py --device cuda --json "$out/quantizer_kernels-cuda.json"
    timeout 60 python3 benchmarks/training_step.py --json "$out/training_step-cuda.json"
    timeout 90 python3 benchmarks/quantizer_kernels.py --device cuda --compile \
      --json "$out/quantizer_kernels-cuda-compiled.json"
    timeout 120 python3 benchmarks/training_step.py --compile --json "$out/training_step-cuda-compiled.json"
    ;;
  study)
    python3 -m xtcq study --source "${4:-workflow/study.json}" --compute "${XTCQ_COMPUTE:-bf16}" \
      --jobs "${JOBS:-0}" --deadline "$3" --export "$out/records.zip"
    ;;
  *)
    echo "error: $what is neither benchmarks nor study" >&2
    exit 2
    ;;
esac
