#!/usr/bin/env bash
# Writes docs/BENCHMARKS.md and its plots: the machine's limits, every model beside its peers in interleaved rounds,
# sweeps, our kernel sets beside peers built for the same instructions, and growth. No figure is typed by hand. Takes
# hours on two cores, and wants a quiet machine.
#
#     scripts/benchmarks.sh LLAMA_BIN MODEL.gguf..
#
# LLAMA_BIN is the folder that scripts/peer.sh prints. The first model is the one that sweeps, sets and growth are
# shown with, and gives its tokenizer to models of random weights.
#
# ROUNDS             rounds of a table; default 5
# ONLY               pieces to write, of: limits models sweeps sets growth profiles; default all
# OUT                folder of the document; default docs
# WORK               folder for models of random weights and for candle; default $HOME/.cache/ballast-bench
# SHAPES             shapes of random weights; default "135m 0.5b 1b 3b"
# PROMPTS BATCHES    lengths and sequences of the sweeps
# CONTEXTS           contexts of growth
# GROWTH_PEERS       "none" shows growth of ours alone: llama.cpp takes three times as long
# LLAMA_BIN_AVX512   programs of `scripts/peer.sh .. avx512`; without it that set is shown alone
# LLAMA_BIN_AVX2     programs of `scripts/peer.sh .. avx2`
# BALLAST            the program to measure; default: built here
# CANDLE             the program of bench/candle; default: built here. "none" leaves candle out
set -eu -o pipefail
cd "$(dirname "$0")/.."
llama=${1:?usage: scripts/benchmarks.sh LLAMA_BIN MODEL.gguf..}
first=${2:?usage: scripts/benchmarks.sh LLAMA_BIN MODEL.gguf..}
last=${*: -1}
shift
rounds=${ROUNDS:-5} only=${ONLY:-limits models sweeps sets growth profiles} out=${OUT:-docs}
work=${WORK:-$HOME/.cache/ballast-bench}
shapes=${SHAPES-135m 0.5b 1b 3b}
prompts=${PROMPTS:-64,128,512,4096} batches=${BATCHES:-1,4,8,16,32}
contexts=${CONTEXTS:-512,1024,2048,4096,8192,16384,32768}
mkdir -p "$work" "$out"

if [ -n "${BALLAST:-}" ]; then
    ballast=$BALLAST
else
    cargo build --release --quiet
    ballast=${CARGO_TARGET_DIR:-target}/release/ballast
fi
candle=${CANDLE:-}
if [ -z "$candle" ]; then
    CARGO_TARGET_DIR=$work/candle RUSTFLAGS="-C target-cpu=native" \
        cargo build --release --locked --quiet --manifest-path bench/candle/Cargo.toml
    candle=$work/candle/release/bench-candle
fi
peers=(--peer "llama:$llama/llama-bench")
both=("${peers[@]}")
[ "$candle" = none ] || both+=(--peer "candle:$candle")

# shown COMMAND..: the command as a person would type it, then its table. A piece that fails says so and leaves the
# others.
shown() {
    local word
    printf '    ballast bench'
    for word in "$@"; do
        case $word in
            *:*/*) printf ' %s:%s' "${word%%:*}" "${word##*/}" ;;
            */*) printf ' %s' "${word##*/}" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n\n'
    "$ballast" bench "$@" --format markdown || printf '\nThis run failed.\n'
    printf '\n'
}

wants() { case " $only " in *" $1 "*) true ;; *) false ;; esac; }

# random_model SHAPE TYPE: makes the file if it is not there, and prints its path.
random_model() {
    local path=$work/random-$1-$2.gguf
    if [ ! -e "$path" ]; then
        "$ballast" bench make-model --shape "$1" --type "$2" --like "$first" "$path.new" >&2
        mv "$path.new" "$path"
    fi
    echo "$path"
}

limits() {
    printf '## Limits\n\nWhat the machine can do at most, whatever the program; the roof of every table below is made of such figures.\n\n'
    shown limits
}

models() {
    printf '## Models\n\n'
    local model shape type beside=("${both[@]}")
    for model in "$@"; do
        printf '### %s\n\n' "$(basename "$model" .gguf)"
        shown "$model" --rounds "$rounds" --startup "${beside[@]}"
        # candle takes minutes where others take seconds: one model shows it.
        beside=("${peers[@]}")
    done
    for shape in 1b 3b; do
        case " $shapes " in *" $shape "*) ;; *) continue ;; esac
        for type in Q4_0 Q8_0; do
            model=$(random_model "$shape" "$type")
            printf '### Random weights, %s, %s\n\n' "$shape" "$type"
            shown "$model" --rounds "$rounds" --generate 32 --batch 1,8 "${peers[@]}"
        done
    done
}

sweeps() {
    printf '## Sweeps\n\n![Sweep](benchmarks-sweep.svg)\n\n'
    shown "$first" --rounds "$rounds" --prompt "$prompts" --batch "$batches" --plot "$out/benchmarks-sweep.svg" "${peers[@]}"
    printf '### Threads\n\n'
    shown "$first" --rounds "$rounds" --threads "1,$(nproc)" --batch 1,8 "${peers[@]}"
    printf '### One foreign busy thread\n\n'
    shown "$first" --rounds "$rounds" --foreign 0,1 --batch 1 "${peers[@]}"
}

sets() {
    printf '## Kernel sets\n\nEach beside a peer that was built for the same instructions, where one is given.\n\n'
    local set peer
    for set in $("$ballast" info --json | tr ',[]' '\n\n\n' | sed -n 's/^ *"\(x86_64-[^"]*\|aarch64-[^"]*\|generic\)"$/\1/p' | sort -u); do
        peer=""
        case $set in
            x86_64-avx2) peer=${LLAMA_BIN_AVX2:-} ;;
            x86_64-avx512-vnni) peer=${LLAMA_BIN_AVX512:-} ;;
        esac
        printf '### %s\n\n' "$set"
        if [ -n "$peer" ]; then
            shown "$first" --rounds "$rounds" --kernels "$set" --batch 1,8 --peer "llama:$peer/llama-bench"
        else
            shown "$first" --rounds "$rounds" --kernels "$set" --batch 1,8
        fi
    done
}

growth() {
    printf '## Growth\n\n![Growth](benchmarks-growth.svg)\n\n'
    local shape models=()
    for shape in $shapes; do
        models+=("$(random_model "$shape" Q4_0)" "$(random_model "$shape" Q8_0)")
    done
    local beside=("${peers[@]}")
    [ "${GROWTH_PEERS:-}" != none ] || beside=()
    shown growth "${models[@]}" --rounds "$rounds" --contexts "$contexts" --plot "$out/benchmarks-growth.svg" "${beside[@]}"
}

# profile TITLE ARGUMENTS..: where the time of a bench of ours goes, by function.
profile() {
    local title=$1 record
    shift
    printf '### %s\n\n' "$title"
    record=$(mktemp)
    if ! command -v perf > /dev/null || ! perf record -e cpu-clock -F 2000 -o "$record" "$ballast" bench "$@" --rounds 1 > /dev/null 2>&1; then
        printf 'not measured: this machine has no perf\n\n'
    else
        printf '```text\n'
        perf report -i "$record" --stdio --no-children --percent-limit 1.5 --fields overhead,symbol 2> /dev/null |
            sed -e '/^#/d' -e '/^$/d' -e '/limits::/d' -e 's/ballast_//g' | cut -c 1-118 | head -12
        printf '```\n\n'
    fi
    rm -f "$record"
}

profiles() {
    printf '## Profiles\n\nWhere the time goes in rows that are nearest to the peer: share of samples, by function; loading\nis in it, the loops that measure limits are left out of the list.\n\n'
    profile 'Prefill of the last model' "$last" --prompt 512 --generate 0 --batch 1
    profile 'Decode of the last model' "$last" --prompt 0 --generate 128 --batch 1
    local model
    model=$(random_model 1b Q8_0)
    profile 'Decode of random weights, 1b, Q8_0' "$model" --prompt 0 --generate 32 --batch 1
}

{
    cat <<'TEXT'
# Benchmarks

Printed by `scripts/benchmarks.sh`; no figure here is typed by hand. Every round is a fresh process, ours and the
peers' in turn. A ratio above 1 is more of the thing: good for tokens per second, bad for time and memory. The share of
the roof is what we reach of what this machine could do at most: bytes over measured bandwidth, or operations over
measured peak, whichever takes longer. What a program does not report is "not measured". The machine is shared with
others: the spread shows how much.

TEXT
    echo "Commit $(git rev-parse --short HEAD), $(rustc --version | cut -d ' ' -f 1,2), $(uname -sr), $(date -u +%Y-%m-%d)."
    echo
    for piece in limits models sweeps sets growth profiles; do
        if wants "$piece"; then "$piece" "$@"; fi
    done
} > "$out/BENCHMARKS.md.new"
mv "$out/BENCHMARKS.md.new" "$out/BENCHMARKS.md"
