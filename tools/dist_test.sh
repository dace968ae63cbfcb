#!/usr/bin/env bash
# Evaluate on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [flags]
# MASTER_PORT, NNODES, NODE_RANK and MASTER_ADDR come from the environment: see dist_train.sh.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [flags of casvit-dense test]" >&2
    exit 2
fi
exec "${PYTHON:-python}" -m casvit_dense.training.launch "$3" test "$1" "$2" "${@:4}"
