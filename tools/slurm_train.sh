#!/usr/bin/env bash
# Train under Slurm, one task per GPU: tools/slurm_train.sh PARTITION JOB CONFIG [flags]
# GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5) and SRUN_ARGS come from the environment.
# DEVICE=cpu asks for no GPUs: GPUS and GPUS_PER_NODE then count tasks.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "usage: tools/slurm_train.sh PARTITION JOB CONFIG [flags of casvit-dense train]" >&2
    exit 2
fi
exec "${PYTHON:-python}" -m casvit_dense.training.slurm "$1" "$2" train "${@:3}"
