#!/bin/bash
# A Ray cluster on the nodes of a SLURM job, and a script of reproduce/ that trains on it. In the
# root of the project, which lies on a file system that all nodes see:
#
#     sbatch reproduce/cluster/slurm.sh
#     sbatch --nodes=4 reproduce/cluster/slurm.sh table2.py --scale paper --datasets cifar10
#
# Without a script it is table2.py --scale paper. Ahead of the time limit the job goes back into the
# queue, and then on from its journal.
#
#SBATCH --job-name=nglkeras
#SBATCH --nodes=2
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

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# The address by which the other nodes reach this one, and free ports: jobs may share a node.
read -r ip port client_port < <(python -c '
import socket, sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
    route.connect((sys.argv[1], 9))
    ip = route.getsockname()[0]
with socket.create_server((ip, 0)) as one, socket.create_server((ip, 0)) as other:
    print(ip, one.getsockname()[1], other.getsockname()[1])
' "${nodes[1]:-localhost}")
[[ -n ${client_port:-} ]] || exit 1

# Whoever reaches a cluster without a token runs programs as its owner. This one is for this job
# alone; all nodes have it from their environment, and no file holds it.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0
# The driver has ended by then, and nothing else is worth half a minute of draining.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0

# Starts Ray, one process a node: their number, their names, options of `ray start`. Cores and GPUs
# are those that SLURM gives, not those that the node has; tasks and rows are small.
log=slurm-$SLURM_JOB_ID-ray.out
steps=()
start() {
    # shellcheck disable=SC2016  # They are the node's.
    srun --export=ALL --nodes="$1" --ntasks="$1" --nodelist="$2" \
        --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
        bash -c 'exec ray start --block --num-cpus="$SLURM_CPUS_ON_NODE" \
            --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --object-store-memory=1000000000 "$@"' \
        ray "${@:3}" &>>"$log" &
    steps+=("$!")
}

start 1 "${nodes[0]}" --head --node-ip-address="$ip" --port="$port" \
    --ray-client-server-port="$client_port" --include-dashboard=false
others=("${nodes[@]:1}")
if [[ ${#others[@]} -gt 0 ]]; then
    names=$(IFS=,; echo "${others[*]}")
    # They try for a while until the head answers.
    start "${#others[@]}" "$names" --address="$ip:$port"
fi

# How many workers there are is counted when the driver begins.
run python -c '
import socket, sys, time

import ray

host, port, wanted, log = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
end = time.monotonic() + 300
while True:
    try:
        socket.create_connection((host, port), timeout=5).close()
        break
    except OSError as error:
        if time.monotonic() > end:
            sys.exit(f"the head of the Ray cluster does not answer ({error}), see {log}")
        time.sleep(1)
ray.init(f"{host}:{port}", log_to_driver=False, logging_level="ERROR")
while (there := sum(node["Alive"] for node in ray.nodes())) < wanted:
    if time.monotonic() > end:
        sys.exit(f"only {there} of {wanted} nodes have joined the Ray cluster, see {log}")
    time.sleep(1)
print(f"Ray on {there} nodes: {ray.cluster_resources()}", flush=True)
' "$ip" "$port" "${#nodes[@]}" "$log"

if [[ $code -eq 0 ]]; then
    run python "reproduce/$1" "${@:2}" --executor ray --ray-address "$ip:$port"
fi
kill "${steps[@]}" 2>/dev/null
wait "${steps[@]}" 2>/dev/null
finish
