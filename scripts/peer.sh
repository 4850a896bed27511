#!/usr/bin/env bash
# Builds llama.cpp as a fair peer and prints the folder of its programs as the last line.
#
# Fair means: for the instructions that ours may use, and with its tile kernels working. gcc before 13 believes that
# loading a tile configuration reads 8 bytes, drops the stores that fill the other 56, and the programs then crash on
# every weight format that uses tiles. One barrier before the load keeps the stores; it changes nothing else.
#
# usage: scripts/peer.sh LLAMA_CPP CACHE [VARIANT]
#   LLAMA_CPP  the unpacked source, which is patched in place
#   VARIANT    native: all instructions of this machine (the default)
#              avx512: AVX-512 with VNNI, without tiles and bfloat16: the peer of `--kernels x86_64-avx512-vnni`
#              avx2:   AVX2 with FMA: the peer of `--kernels x86_64-avx2`
set -eu -o pipefail
source=${1:?usage: scripts/peer.sh LLAMA_CPP CACHE [VARIANT]}
cache=${2:?usage: scripts/peer.sh LLAMA_CPP CACHE [VARIANT]}
variant=${3:-native}
here=$(cd "$(dirname "$0")" && pwd)
. "$here/versions.sh"

avx2="-DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
case $variant in
    native) instructions="-DGGML_NATIVE=ON" ;;
    avx512) instructions="$avx2 -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON" ;;
    avx2) instructions=$avx2 ;;
    *) echo "variant: expected native, avx512 or avx2, got $variant" >&2; exit 2 ;;
esac
options="$instructions -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF"
targets="llama-bench llama-batched-bench llama-completion llama-perplexity llama-quantize llama-server"
barrier='asm volatile("" :: "r"(\&tc) : "memory");'

# What the programs depend on: the version, the options, the patch, the processor and the compiler. A target that is
# new is built in the folder that is there.
key=$({ echo "$LLAMA_CPP_PYTHON $options $barrier"; grep -m 1 '^flags' /proc/cpuinfo || uname -m; cc --version; } | sha256sum | cut -c 1-16)
build="$cache/peer-$variant-$key"

if [ "$(cat "$build/done" 2> /dev/null)" != "$targets" ]; then
    tiles="$source/ggml/src/ggml-cpu/amx/mmq.cpp"
    if [ -e "$tiles" ] && ! grep -q 'asm volatile("" :: "r"(&tc)' "$tiles"; then
        sed -i "s|^\( *\)_tile_loadconfig(&tc);|\1$barrier\n&|" "$tiles"
        grep -q 'asm volatile("" :: "r"(&tc)' "$tiles" || { echo "the place of the barrier was not found" >&2; exit 1; }
    fi
    # shellcheck disable=SC2086  # one word for each option and target
    cmake -S "$source" -B "$build" -G Ninja $options >&2
    # shellcheck disable=SC2086
    cmake --build "$build" -j "$(nproc)" --target $targets >&2
    echo "$targets" > "$build/done"
fi
echo "$build/bin"
