#!/bin/bash
@SBATCH@
#
# A sweep over a Ray of its own, on all nodes of this job. Before the time is up it is interrupted, and the job queued
# again; the same command then goes on with what lies in the results folder. So it does after the loss of a node.
set -euo pipefail
cd @FOLDER@
export PATH=@PATH@:$PATH

# The token of this job's Ray is in the environment of its processes, and in no file.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# The address of this node, which is the head, as the last one sees it: by its name it may know itself as 127.0.1.1.
ip=$(python -c 'import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ask:
    ask.connect((sys.argv[1], 9))
    print(ask.getsockname()[0])' "${nodes[-1]}")
port=$((20000 + SLURM_JOB_ID % 10000))
cpus=${SLURM_CPUS_PER_TASK:-1}
temp=/tmp/cfsweep-$SLURM_JOB_ID  # short, as Ray's sockets lie there
on_each=(srun --overlap --ntasks-per-node=1 --cpus-per-task="$cpus")
node=(ray start --block --disable-usage-stats --num-cpus="$cpus")

"${on_each[@]}" --nodes=1 --ntasks=1 --nodelist="$head" \
    "${node[@]}" --head --include-dashboard=false --temp-dir="$temp" --node-ip-address="$ip" --port="$port" >/dev/null 2>&1 &
rays=($!)

answers() { (exec 3<>"/dev/tcp/$ip/$port") 2>/dev/null; }
for _ in $(seq 120); do
    answers && break
    kill -0 "${rays[0]}" 2>/dev/null || break
    sleep 1
done
answers || { echo "cfsweep: Ray did not start on $head ($ip:$port)" >&2; exit 1; }

if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
    # One node's Ray may go without the others'.
    "${on_each[@]}" --kill-on-bad-exit=0 --nodes=$((SLURM_JOB_NUM_NODES - 1)) --exclude="$head" \
        "${node[@]}" --address="$ip:$port" >/dev/null 2>&1 &
    rays+=($!)
fi

time_is_up=
cfsweep @COMMAND@ --address "$ip:$port" &
sweep=$!
trap 'time_is_up=yes; kill -TERM "$sweep" 2>/dev/null || true' USR1
trap 'kill -TERM "$sweep" 2>/dev/null || true' TERM INT
code=0
wait "$sweep" || code=$?
while kill -0 "$sweep" 2>/dev/null; do  # a signal has ended the wait, not the sweep
    code=0
    wait "$sweep" || code=$?
done

kill "${rays[@]}" 2>/dev/null || true
wait "${rays[@]}" 2>/dev/null || true
"${on_each[@]}" --nodes="$SLURM_JOB_NUM_NODES" rm -rf "$temp" || true
if [ -n "$time_is_up" ] && [ "$code" -ne 0 ]; then
    echo "cfsweep: the time is up; job $SLURM_JOB_ID is queued again, and goes on" >&2
    scontrol requeue "$SLURM_JOB_ID"
    sleep 60  # until Slurm ends what is left of this turn
fi
exit "$code"
