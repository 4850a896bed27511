#!/usr/bin/env bash
# Counts the instructions of the hot kernels under callgrind, which no load of the machine changes, and fails if one takes
# over 3 % more than docs/instructions.txt says. `--record` writes that file anew.
#
# The set is AVX2: valgrind knows no AVX-512. All sets share the algorithms, so what one loses others mostly do.
set -eu -o pipefail
cd "$(dirname "$0")/.."
set=x86_64-avx2
recorded=docs/instructions.txt

skip() { echo "skipped: instructions: $1"; exit 0; }
[ "$(uname -m)" = x86_64 ] || skip "this is not x86-64"
command -v valgrind > /dev/null || skip "there is no valgrind"
version=$(rustc --version | cut -d ' ' -f 1,2)

cargo build --release --quiet --package ballast-kernels --example instructions
program=${CARGO_TARGET_DIR:-target}/release/examples/instructions
"$program" $set --names > /dev/null 2>&1 || skip "this CPU has no AVX2"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
valgrind --tool=callgrind --callgrind-out-file="$work/out" --zero-before='instructions::measured_case' \
    --dump-after='instructions::measured_case' "$program" $set > "$work/log" 2>&1 || { tail "$work/log"; exit 1; }
n=0
"$program" $set --names > "$work/names"
while IFS= read -r name; do
    n=$((n + 1))
    [ -e "$work/out.$n" ] || { echo "instructions: nothing was counted for: $name"; exit 1; }
    printf '%12d  %s\n' "$(sed -n 's/^totals: //p' "$work/out.$n")" "$name"
done < "$work/names" > "$work/counts"

if [ "${1:-}" = --record ]; then
    { echo "# Instructions of one call, by scripts/instructions.sh --record. $version, $set."; cat "$work/counts"; } > $recorded
    exit 0
fi
grep -q "$version, $set" $recorded || skip "recorded with another compiler than $version: scripts/instructions.sh --record"
awk 'NR == FNR { if ($1 != "#") { n = $1; $1 = ""; was[$0] = n } next }
     { n = $1; $1 = ""; if (!($0 in was)) { print "not recorded:" $0; bad = 1 }
       else if (n > was[$0] * 1.03) { printf "%s: %d instructions, recorded %d\n", $0, n, was[$0]; bad = 1 } }
     END { exit bad }' $recorded "$work/counts" || exit 1
echo "instructions: $(wc -l < "$work/counts") kernels, none over 3 % more than recorded"
