#!/usr/bin/env bash
# Fuzzes every target for a moment: SECONDS (30 by default) shared among them.
set -u -o pipefail
cd "$(dirname "$0")/.."

skip() { echo "skipped: fuzzing: $1"; exit 0; }

[ -d fuzz ] || skip "there are no fuzz targets"
cargo +nightly --version > /dev/null 2>&1 || skip "there is no nightly toolchain"
cargo fuzz --version > /dev/null 2>&1 || skip "cargo-fuzz is not installed"
targets=$(cargo +nightly fuzz list) || skip "cargo fuzz lists no targets"
n=$(echo "$targets" | wc -w)
[ "$n" -gt 0 ] || skip "there are no fuzz targets"
# The seeds of models are what the tests of hostile files are made of.
cargo run --quiet -p ballast-tensor --example tensor_corpus -- fuzz/corpus-work/seeds || exit 1
for target in $targets; do
    # What is found goes to a folder that is not kept; the seeds that are kept are read only.
    mkdir -p "fuzz/corpus-work/$target"
    seeds=()
    for folder in "crates/${target%%_*}/corpus" crates/*/corpus/"$target" "fuzz/corpus-work/seeds/$target"; do
        [ -d "$folder" ] && seeds+=("$folder")
    done
    [ "${#seeds[@]}" -gt 0 ] || { echo "fuzzing $target: there are no seeds"; exit 1; }
    if ! cargo +nightly fuzz run "$target" "fuzz/corpus-work/$target" "${seeds[@]}" -- \
        -max_total_time=$((${1:-30} / n + 1)) -rss_limit_mb=512 -max_len=8192 > fuzz/corpus-work/log 2>&1; then
        tail -n 40 fuzz/corpus-work/log
        exit 1
    fi
    tail -n 1 fuzz/corpus-work/log
done
