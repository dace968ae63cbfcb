#!/usr/bin/env bash
# Train on several GPUs of one or more machines: tools/dist_train.sh CONFIG PROCESSES [flags]
# From the environment: MASTER_PORT (default: a free one), MAX_RESTARTS (0; with --resume),
# and for several machines NNODES, NODE_RANK, MASTER_ADDR.
set -euo pipefail

if [[ $# -lt 2 ]]; then
    echo "usage: tools/dist_train.sh CONFIG PROCESSES [flags of casvit-dense train]" >&2
    exit 2
fi
exec "${PYTHON:-python}" -m casvit_dense.training.launch "$2" train "$1" "${@:3}"
