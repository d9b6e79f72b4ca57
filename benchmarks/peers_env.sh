#!/usr/bin/env bash
# Makes the environment of the peers that the benchmarks compare with:
#
#     bash benchmarks/peers_env.sh _build/peers
#
# They live apart from xtcq's own environment, which needs none of them. xtcq is not installed there: the benchmarks find
# it beside themselves, and the requirements hold what it imports.
set -euo pipefail
folder=${1:?give the folder of the environment, for example _build/peers}
requirements=$(dirname "$0")/peers-requirements.txt
install() { "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

"${PYTHON:-python3}" -m venv "$folder"
# DeepSpeed is built from source, with the torch that is already there; without a CUDA compiler none of its own kernels.
install setuptools wheel "$(grep '^torch==' "$requirements")"
DS_BUILD_OPS=0 install --no-build-isolation --requirement "$requirements"
