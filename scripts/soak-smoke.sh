#!/usr/bin/env bash
# Minutes of load and faults on the real model: half of them in this process, half in a worker that is killed and
# stopped, and a hundred workers of a tiny model killed under load. Fails if a gate does that no slow machine can fail by
# itself.
#
# usage: scripts/soak-smoke.sh [MINUTES]; BALLAST names the release build, BALLAST_TEST_MODEL the model file
set -u -o pipefail
cd "$(dirname "$0")/.."
minutes=${1:-2}

cargo test --quiet --package ballast --test kills -- --ignored --nocapture 2> /dev/null | grep "workers killed" ||
    { echo "a hundred workers killed under load: failed"; exit 1; }
if [ -z "${BALLAST_TEST_MODEL:-}" ]; then
    echo "skipped: soak: there is no model file"
    exit 0
fi
half=$(awk -v minutes="$minutes" 'BEGIN { print minutes / 2 }')
soak() {
    "${BALLAST:-target/release/ballast}" soak "$BALLAST_TEST_MODEL" --minutes "$half" --rps 2 --faults 0.2 \
        --ctx-size 2048 --kv-size 4096 --parallel 8 --judge counts "$@"
}
soak --isolation in-process && soak --isolation process --strikes 3
