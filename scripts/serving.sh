#!/usr/bin/env bash
# Writes docs/SERVING.md: what the server costs beside HTTP itself, how it does under load beside llama.cpp's, and what
# it still does under more than it can take.
#
#     scripts/serving.sh LLAMA_BIN MODEL.gguf
#
# LLAMA_BIN is the folder of llama.cpp's programs (scripts/peer.sh builds them). ROUNDS, CLIENTS and RATES as in
# `ballast bench serve --help`; ONLY names the pieces to measure, of: http clients arrivals schema overload. The others stay as
# they were measured before.
set -eu -o pipefail
cd "$(dirname "$0")/.."
llama=${1:?usage: scripts/serving.sh LLAMA_BIN MODEL.gguf}
model=${2:?usage: scripts/serving.sh LLAMA_BIN MODEL.gguf}
rounds=${ROUNDS:-5} clients=${CLIENTS:-1,4,8,16,32} rates=${RATES:-1,2}
only=${ONLY:-http clients arrivals schema overload}
cargo build --release --quiet --package ballast-cli
cargo build --release --quiet --package ballast-server --examples
built=${CARGO_TARGET_DIR:-target}/release
out=docs/SERVING.md

# piece NAME TITLE TEXT COMMAND..: a section, measured now or as it was.
piece() {
    local name=$1 title=$2 text=$3 stamp
    printf '\n## %s\n' "$title"
    case " $only " in
        *" $name "*)
            stamp="Commit $(git rev-parse --short HEAD), $(rustc --version | cut -d ' ' -f 1,2), $(uname -sr)"
            printf '\n%s\n\n%s, %s, %s CPUs, load %s.\n' "$text" "$stamp" "$(date -u +%Y-%m-%d)" "$(nproc)" "$(cut -d ' ' -f 1 /proc/loadavg)"
            "${@:4}"
            ;;
        *) awk -v title="## $title" '/^## /{is_it = $0 == title; next} is_it' "$out" | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}' ;;
    esac
}

# told COMMAND..: a command as a person would type it.
told() {
    local word
    printf '\n   '
    for word in "$@"; do
        case $word in
            *:*/*) printf ' %s:%s' "${word%%:*}" "${word##*/}" ;;
            */*) printf ' %s' "${word##*/}" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n\n'
}

# table ARGUMENTS..: a bench that prints a table.
table() {
    told ballast bench "$@"
    "$built/ballast" bench "$@" --format markdown 2> /dev/null || printf '\nexit code %s\n' "$?"
}

# gates COMMAND-AS-TOLD PROGRAM..: a bench that prints gates.
gates() {
    printf '\n    %s\n\n```text\n' "$1"
    "${@:2}" 2> /dev/null || echo "exit code $?"
    printf '```\n'
}

{
    cat <<'TEXT'
# The server under load

Printed by `scripts/serving.sh`; no figure here is typed by hand. Every round is a fresh process of each program, in
turn; figures are medians. The machine is shared with others.
TEXT
    piece http "Beside HTTP itself" \
        "Keys, limits, metrics, chat template, scheduler and threads before an engine that costs nothing, and a handler that
returns the same bytes, in alternating rounds." \
        gates "cargo run --release -p ballast-server --example overhead" "$built/examples/overhead"
    piece clients "Clients that ask again once they are answered" "Prompts that share nothing." \
        table serve "$model" --rounds "$rounds" --clients "$clients" --peer "llama:$llama/llama-server"
    piece arrivals "Arrivals that wait for nobody" "Half of each prompt is one that all share." \
        table serve "$model" --rounds "$rounds" --rate "$rates" --requests 20 --shared 0.5 --peer "llama:$llama/llama-server"
    piece schema "Answers that keep to a schema" \
        "The mask of every token of real answers, made again and timed, and the speed of the same model with the schema and without." \
        table constraint "$model" --rounds "$rounds"
    piece overload "Four times as much as it can take, slow readers, clients that leave" \
        "Memory is looked at after every block of the KV cache was used once." \
        gates "ballast bench overload MODEL" "$built/ballast" bench overload "$model"
} > "$out.new"
mv "$out.new" "$out"
