#!/usr/bin/env bash
# Makes the Q8_0, Q4_K_M and F16 files that the oracles compare on, from the Q4_1 file, into a folder, and prints the
# files that are there. What they hold is the Q4_1 file's rounded weights: both sides read the same ones.
#
# usage: oracles/quantize.sh MODEL FOLDER   (BALLAST_LLAMA_BIN names the folder of llama-quantize)
set -u -o pipefail
model=${1:?usage: oracles/quantize.sh MODEL FOLDER}
folder=${2:?usage: oracles/quantize.sh MODEL FOLDER}
mkdir -p "$folder"

echo "$model"
[ -x "${BALLAST_LLAMA_BIN:-}/llama-quantize" ] || { echo "skipped: quantised files: BALLAST_LLAMA_BIN names no llama-quantize" >&2; exit 0; }
name=$(basename "$model" .gguf)
for kind in Q8_0 Q4_K_M F16; do
    file="$folder/${name%.*}.$kind.gguf"
    if [ ! -e "$file" ]; then
        "$BALLAST_LLAMA_BIN/llama-quantize" --allow-requantize "$model" "$file.part" "$kind" > "$folder/quantize.log" 2>&1 &&
            mv "$file.part" "$file" || { echo "skipped: $kind file: $(tail -n 1 "$folder/quantize.log")" >&2; continue; }
    fi
    echo "$file"
done
