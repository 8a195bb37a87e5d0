#!/bin/bash
# A script of reproduce/ on one node of SLURM: a worker process for each of its GPUs, without Ray.
# In the root of the project:
#
#     sbatch reproduce/cluster/slurm_node.sh
#     sbatch --gpus-per-node=8 reproduce/cluster/slurm_node.sh search.py --scale paper
#
# Without a script it is table2.py --scale paper. Ahead of the time limit the job goes back into the
# queue, and then on from its journal.
#
#SBATCH --job-name=nglkeras
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=128G
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append

cd "$SLURM_SUBMIT_DIR" || exit 1
source reproduce/cluster/slurm_common.sh || exit 1
[[ $# -gt 0 ]] || set -- table2.py --scale paper

workers=()
if [[ ${SLURM_GPUS_ON_NODE:-0} -eq 0 ]]; then
    # GPUs of others may be in sight, and all cores of the node are.
    export CUDA_VISIBLE_DEVICES=-1
    workers=(--workers "$(((SLURM_CPUS_ON_NODE + 1) / 2))")
fi
run python "reproduce/$1" --executor processes "${workers[@]}" "${@:2}"
finish
