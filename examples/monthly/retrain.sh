#!/usr/bin/env bash
# The model in service learns the newest month, and stays in service unless the new one has kept every month before.
#
#   retrain.sh MONTHS MODELS     MONTHS: 01.parquet, 02.parquet ...; MODELS: one bundle per month, and `champion`, a link
#
# The first time, months 1 to 3 are swept for the settings. Each further call takes one month more. Exit code 1: refused.
set -euo pipefail
months=$(realpath "$1") models=$2
mkdir -p "$models"

if [ ! -e "$models/champion" ]; then
    mkdir -p "$models/months-01-03"
    cp "$months"/0[123].parquet "$models/months-01-03"
    cfsweep run replay --stream "$models/months-01-03" --scenario domain-il --trials 12 --seeds 3 \
        --set epochs=10 --out "$models/sweep"
    cfsweep select "$models/sweep"
    cfsweep confirm "$models/sweep"
    rm -rf "$models/03" # of a call that was interrupted
    cfsweep export "$models/sweep" --to "$models/03"
    ln -s 03 "$models/champion"
    exit
fi

champion=$(readlink "$models/champion")
month=$(printf '%02d' $((10#$champion + 1)))
rm -rf "${models:?}/$month" # of a call that was interrupted: the champion is another one
cfsweep continue "$models/$champion" --task "$months/$month.parquet" --to "$models/$month" ${RETRAIN_WITH:-}
seen=$(mktemp -d)
trap 'rm -r "$seen"' EXIT
for number in $(seq 1 $((10#$month))); do cp "$months/$(printf '%02d' "$number").parquet" "$seen"; done
if cfsweep gate --champion "$models/$champion" --candidate "$models/$month" --stream "$seen" \
    --max-drop 0.05 --json "$models/$month-gate.json"; then
    ln -sfn "$month" "$models/champion"
    # cfsweep log "$models/champion" --name months --alias champion  # in MLflow, too
else
    rm -rf "$models/$month-refused"
    mv "$models/$month" "$models/$month-refused"
    exit 1
fi
