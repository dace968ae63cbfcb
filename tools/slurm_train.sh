#!/usr/bin/env bash
# Train under Slurm, one task per GPU: tools/slurm_train.sh PARTITION JOB CONFIG [flags]
# GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5) and SRUN_ARGS come from the environment.
# DEVICE=cpu asks for no GPUs: GPUS and GPUS_PER_NODE then count tasks.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: tools/slurm_train.sh PARTITION JOB CONFIG [flags of casvit-dense train]" >&2
    exit 2
fi
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
for count in "$gpus" "$per_node" "${CPUS_PER_TASK:-5}"; do
    if [[ ! $count =~ ^[1-9][0-9]*$ ]]; then
        echo "error: '$count' in GPUS, GPUS_PER_NODE or CPUS_PER_TASK: give a number from 1 up" >&2
        exit 2
    fi
done
devices=(--gres="gpu:$per_node")
if [[ ${DEVICE:-gpu} == cpu ]]; then devices=(); fi

# Tasks that stopped alike end one after the other: none is killed for a minute, so that srun ends
# with their exit code. SRUN_ARGS holds several words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job" \
    "${devices[@]}" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=0 --wait=60 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u -m casvit_dense train "$config" --launcher slurm "$@"
