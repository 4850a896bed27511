#!/usr/bin/env bash
# Writes docs/OVERHEADS.md: what the runtime costs beside the work itself, and what a soak of the real model found.
#
#     scripts/overheads.sh MODEL.gguf [MINUTES-OF-SOAK]
set -eu -o pipefail
cd "$(dirname "$0")/.."
model=$1
minutes=${2:-2}
cargo build --release --quiet --package ballast-cli
cargo build --release --quiet --package ballast-runtime --package ballast-worker --examples
built=${CARGO_TARGET_DIR:-target}/release
out=docs/OVERHEADS.md

# section TITLE COMMAND-AS-TOLD PROGRAM..
section() {
    printf '\n## %s\n\n    %s\n\n```text\n' "$1" "$2"
    "${@:3}" 2> /dev/null || echo "exit code $?"
    printf '```\n'
}

{
    cat <<'TEXT'
# Overheads and soak

Printed by `scripts/overheads.sh`; no figure here is typed by hand. The column `seed` has what the documents of the
prior system claim. The machine is shared with others.

TEXT
    echo "Commit $(git rev-parse --short HEAD), $(rustc --version | cut -d ' ' -f 1,2), $(uname -sr), $(date -u +%Y-%m-%d), $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)."
    section "Decisions, hand-overs, buffers" "cargo run --release -p ballast-runtime --example overheads" "$built/examples/overheads"
    section "Events" "cargo run --release -p ballast-runtime --example events" "$built/examples/events"
    section "A step of a worker process" "cargo run --release -p ballast-worker --example round_trip" "$built/examples/round_trip"
    flags="--minutes $minutes --faults 0.2 --ctx-size 2048 --kv-size 4096 --parallel 8"
    section "Soak in this process" "ballast soak MODEL --rps 2 $flags" "$built/ballast" soak "$model" --rps 2 $flags
    section "Soak with a worker that is killed and stopped" "ballast soak MODEL --rps 2 --isolation process $flags" \
        "$built/ballast" soak "$model" --rps 2 --isolation process $flags
    section "Overload" "ballast soak MODEL --rps 4x $flags" "$built/ballast" soak "$model" --rps 4x $flags
} > "$out.new"
mv "$out.new" "$out"
