# shellcheck shell=bash
# What slurm.sh and slurm_node.sh share; they read it in the root of the project.

# Your site's modules go here, if Python comes from one.
# shellcheck disable=SC1091
source "${VENV:-.venv}/bin/activate" || exit 1
# On a file system that all nodes see, as the results are.
export TFDS_DATA_DIR=${TFDS_DATA_DIR:-$PWD/data/tfds}
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-2}

# Without job control the children of a script ignore Ctrl-C's signal, which ends the driver in
# order: it frees the lock of its journal.
set -m
child='' code=0 ending=''

# USR1 is ours, by #SBATCH --signal: time is nearly up. TERM comes with scancel as well, and whoever
# cancels a job does not want it back.
trap 'stop requeue' USR1
trap 'stop cancel' TERM

stop() {
    ending=$1
    [[ -z $child ]] || kill -INT "$child" 2>/dev/null
}

# Runs a command so that signals are heard meanwhile; its exit code is in `code`.
run() {
    [[ -z $ending ]] || { code=130; return; }
    "$@" &
    child=$!
    # A signal ends `wait`, but not the child.
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
    done
    wait "$child"
    code=$?
    child=''
}

# Ends the job: with the exit code of what ran last, or back into the queue.
finish() {
    if [[ $ending == requeue && $code -ne 0 ]]; then
        echo "back to the queue; the same command goes on from its journal"
        # It comes with the requeue.
        trap '' TERM
        scontrol requeue "$SLURM_JOB_ID" && sleep infinity
        code=1
    fi
    exit "$code"
}
