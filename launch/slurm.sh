#!/bin/bash
# One training stage on several nodes, and DVC's books kept: sbatch launch/slurm.sh [STAGE]
#
# Submit it in the project's folder, which lies on storage that all nodes share. Another size: sbatch --nodes=4 ...
# After a node's failure Slurm puts the job back into the queue, after another failure the last line does, three times
# at most; the training goes on from its last checkpoint.
#SBATCH --job-name=llmill
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

stage=${1:-pretrain}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
source .venv/bin/activate

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # or a node that comes back finds nobody (pytorch#147064)
# DVC runs here, on the first node; the stage that it starts becomes this command, which srun starts on every node.
export LLMILL_LAUNCH="srun --kill-on-bad-exit=1 torchrun --nnodes=$SLURM_JOB_NUM_NODES \
--nproc-per-node=${SLURM_GPUS_ON_NODE:-1} --max-restarts=3 --rdzv-backend=c10d \
--rdzv-id=$SLURM_JOB_ID --rdzv-endpoint=${nodes[0]}:${LLMILL_PORT:-29500}"
dvc repro --single-item "$stage" || {
    if [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
    exit 1
}
