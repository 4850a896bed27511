#!/usr/bin/env bash
# Runs the runtime's tests of threads, pools and faults under valgrind: memory that nothing leads to any more fails it.
# (miri and the leak sanitizer need a nightly toolchain.)
set -eu -o pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind > /dev/null; then
    echo "skipped: leaks: there is no valgrind"
    exit 0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
tests=(confine pools pools_buffers life)
cargo test --quiet --package ballast-runtime $(printf -- '--test %s ' "${tests[@]}") --no-run
for test in "${tests[@]}"; do
    binary=$(cargo test --package ballast-runtime --test "$test" --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
    # Threads that were given up are left to themselves on purpose: what they hold is reachable, not lost.
    valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
        --error-exitcode=9 "$binary" --test-threads=1 > "$log" 2>&1 || { cat "$log"; echo "leaks: $test: failed"; exit 1; }
    echo "leaks: $test: $(grep -c 'ok$' "$log") tests, none"
done
