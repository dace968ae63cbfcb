#!/usr/bin/env bash
# Evaluate on several GPUs: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [flags]
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [flags of casvit-dense test]" >&2
    exit 2
fi
config=$1 checkpoint=$2 processes=$3
shift 3

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    --nproc_per_node="$processes" \
    -m casvit_dense test "$config" "$checkpoint" --launcher pytorch "$@"
