#!/usr/bin/env bash
# Builds llama.cpp as a fair peer and prints the folder of its programs as the last line.
#
# Fair means: for this machine's own instructions, and with its tile kernels working. gcc before 13 believes that
# loading a tile configuration reads 8 bytes, drops the stores that fill the other 56, and the programs then crash on
# every weight format that uses tiles. One barrier before the load keeps the stores; it changes nothing else.
#
# usage: scripts/peer.sh LLAMA_CPP CACHE   (LLAMA_CPP: the unpacked source, which is patched in place)
set -eu -o pipefail
source=${1:?usage: scripts/peer.sh LLAMA_CPP CACHE}
cache=${2:?usage: scripts/peer.sh LLAMA_CPP CACHE}
here=$(cd "$(dirname "$0")" && pwd)
. "$here/versions.sh"

# What the programs depend on: the version, this script, the processor and the compiler.
key=$({ echo "$LLAMA_CPP_PYTHON"; cat "$here/peer.sh"; grep -m 1 '^flags' /proc/cpuinfo || uname -m; cc --version; } | sha256sum | cut -c 1-16)
build="$cache/peer-$key"
targets="llama-bench llama-completion llama-perplexity llama-quantize llama-server"

if [ ! -e "$build/done" ]; then
    tiles="$source/ggml/src/ggml-cpu/amx/mmq.cpp"
    barrier='asm volatile("" :: "r"(\&tc) : "memory");'
    if [ -e "$tiles" ] && ! grep -q 'asm volatile("" :: "r"(&tc)' "$tiles"; then
        sed -i "s|^\( *\)_tile_loadconfig(&tc);|\1$barrier\n&|" "$tiles"
        grep -q 'asm volatile("" :: "r"(&tc)' "$tiles" || { echo "the place of the barrier was not found" >&2; exit 1; }
    fi
    rm -rf "$build"
    cmake -S "$source" -B "$build" -G Ninja -DGGML_NATIVE=ON -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF >&2
    # shellcheck disable=SC2086  # one word for each target
    cmake --build "$build" -j "$(nproc)" --target $targets >&2
    touch "$build/done"
fi
echo "$build/bin"
