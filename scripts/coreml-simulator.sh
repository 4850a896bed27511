#!/usr/bin/env bash
# Runs crates/coreml, unchanged, on Linux: against GNUstep's Foundation and the fake Core ML classes of
# simulator/coreml, which execute packages through crates/tensor. Fetches GNUstep's runtime libraries from Debian into the
# cache; nothing is installed. Prints `skipped: ..` where something cannot be had, and how long each part took.
#
# coreml-simulator.sh [tests|mutants|leaks|packages]...    default: tests leaks packages mutants
# BALLAST_CACHE           folder for what is fetched; default $HOME/.cache/ballast-ci
# TENSOR_PYTHON           a Python with oracles/tensor.txt, for packages of real models
# BALLAST_TENSOR_MODELS   the ONNX models that these are made from
set -u -o pipefail
cd "$(dirname "$0")/.."
cache=${BALLAST_CACHE:-$HOME/.cache/ballast-ci}/coreml
packages=(libobjc4 libgnustep-base1.28 libblocksruntime0)
objc2=0.6.5 objc2_core_ml=0.3.2

skip() { echo "skipped: core ml simulator: $1"; exit 0; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || skip "this is not x86-64 Linux"
mkdir -p "$cache/deb" "$cache/lib"

# GNUstep's libraries, with the names that a linker looks for.
libraries() {
    local deb library
    [ -e "$cache/lib/done" ] && return 0
    command -v apt-get > /dev/null && command -v dpkg > /dev/null || { echo "apt-get and dpkg are missing"; return 1; }
    (cd "$cache/deb" && { apt-get download "${packages[@]}" || { apt-get update && apt-get download "${packages[@]}"; }; }) \
        > "$cache/fetch.log" 2>&1 || { echo "apt-get could not download ${packages[*]}"; return 1; }
    for deb in "$cache"/deb/*.deb; do
        sha256sum "$deb"
        dpkg -x "$deb" "$cache/root" || return 1
    done
    for library in objc gnustep-base BlocksRuntime; do
        find "$cache/root" -name "lib$library.so*" -exec cp -P {} "$cache/lib/" \;
        ln -sf "$(cd "$cache/lib" && find . -name "lib$library.so.*" -type f | head -n 1)" "$cache/lib/lib$library.so"
    done
    if LD_LIBRARY_PATH=$cache/lib ldd "$cache"/lib/*.so | grep -q 'not found'; then
        LD_LIBRARY_PATH=$cache/lib ldd "$cache"/lib/*.so | grep 'not found' | sort -u | head -n 3
        return 1
    fi
    touch "$cache/lib/done"
}

# Copies of two crates that differ in what Linux needs: gcc's runtime has no static classes, and no framework is linked.
patched() {
    local registry
    [ -e "$cache/patched/done-$objc2-$objc2_core_ml" ] && return 0
    # Fetching without the patches writes them out of the lock file, which is put back.
    cp simulator/coreml/Cargo.lock "$cache/Cargo.lock"
    (cd simulator/coreml && cargo metadata --format-version 1 > "$cache/metadata.json" 2> "$cache/fetch.log")
    local fetched=$?
    cp "$cache/Cargo.lock" simulator/coreml/Cargo.lock
    [ "$fetched" = 0 ] || { tail -n 1 "$cache/fetch.log"; return 1; }
    registry=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/objc2-"$objc2" 2> /dev/null | head -n 1)
    [ -n "$registry" ] || { echo "objc2 is not in the registry's folder"; return 1; }
    registry=$(dirname "$registry")
    rm -rf "$cache/patched"
    mkdir -p "$cache/patched"
    cp -r "$registry/objc2-$objc2" "$cache/patched/objc2" && cp -r "$registry/objc2-core-ml-$objc2_core_ml" "$cache/patched/objc2-core-ml" || return 1
    sed -i '/^gnustep-1-7 = \[/,/^\]/{/"unstable-static-class",/d}' "$cache/patched/objc2/Cargo.toml"
    sed -i '/^#\[link(name = "CoreML", kind = "framework")\]/d' "$cache/patched/objc2-core-ml/src/generated/mod.rs"
    touch "$cache/patched/done-$objc2-$objc2_core_ml"
}

why=$(libraries) || skip "$why"
echo "$why"
why=$(patched) || skip "$why"

export COREML_SIMULATOR_LIBRARIES=$cache/lib LIBRARY_PATH=$cache/lib LD_LIBRARY_PATH=$cache/lib
export CARGO_TARGET_DIR=${COREML_SIMULATOR_TARGET:-$cache/target}
patches=(--config "patch.crates-io.objc2.path='$cache/patched/objc2'"
         --config "patch.crates-io.objc2-core-ml.path='$cache/patched/objc2-core-ml'")

# in_house FOLDER ARGUMENTS..: cargo in the simulator of that checkout. GNUstep's library has a stand-in for the blocks
# runtime, so the real one is loaded first.
in_house() {
    local folder=$1
    shift
    (cd "$folder/simulator/coreml" && CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env LD_PRELOAD=$cache/lib/libBlocksRuntime.so" \
        timeout "${COREML_SIMULATOR_SECONDS:-900}" cargo "$@" "${patches[@]}")
}

tests() { in_house . test --locked; }

# binary FOLDER ARGUMENTS..: builds the tests of the boundary, and says where they are.
binary() {
    local folder=$1 built
    shift
    built=$(in_house "$folder" test --locked --test simulator --no-run "$@" 2>&1) || { tail -n 20 <<< "$built" >&2; return 1; }
    # Cargo names the file from the folder that it was built in, or in full.
    sed -n 's/.*Executable.*(\(.*\))$/\1/p' <<< "$built" | sed "s#^\([^/]\)#$folder/simulator/coreml/\1#"
}

house=$cache/mutants

# mutate NAME FILE SED: breaks the copy of a source so that it is as it was until the process is told the name. MUTATED
# stands for the question.
mutate() {
    local from=crates/coreml/src/$2 to=$house/crates/coreml/src/$2 asked
    asked="std::env::var_os(\"COREML_MUTANT\").is_some_and(|name| name == \"$1\")"
    cp "$to" "$to.before"
    sed -i "${3//MUTATED/$asked}" "$to"
    cmp -s "$to.before" "$to" && { echo "mutant $1: the source has nothing to break"; return 1; }
    rm "$to.before"
    # What was not changed since the last time is not built again.
    touch -r "$from" "$to"
    [ "$from" -nt "$0" ] || touch -r "$0" "$to"
    mutants+=("$1")
}

# The tests must fail where the source is broken so. All mutants are built at once; each run is told which to be.
mutants() {
    local mutants=() name program
    rm -rf "$house" && mkdir -p "$house/crates"
    cp -a crates/coreml "$house/crates/" && cp -a simulator "$house/" || return
    sed -i "s#= { path = \"../../../crates/#= { path = \"$PWD/crates/#" "$house"/simulator/coreml/*/Cargo.toml
    mutate "no pools" apple/raw.rs 's/^    autoreleasepool(|_| body())$/    if MUTATED { body() } else { autoreleasepool(|_| body()) }/' &&
    mutate "handlers without a pool" apple/answer.rs 's/pooled(|| catch_unwind(\(.*\)));$/if MUTATED { catch_unwind(\1) } else { pooled(|| catch_unwind(\1)) };/' &&
    mutate "inputs are not kept" apple/raw.rs 's/Mutex::new(Some(Arc::clone(tensor)))/Mutex::new((!MUTATED).then(|| Arc::clone(tensor)))/' &&
    mutate "a range of one extent is open" apple/raw.rs 's/range.length > 1)/range.length > usize::from(!MUTATED))/' &&
    mutate "another type is taken" apple.rs 's/match tensor.dtype() == spec.dtype {/match MUTATED || tensor.dtype() == spec.dtype {/' &&
    mutate "strides ignored" layout.rs 's/if stride != run \&\& extent != 1/if !MUTATED \&\& stride != run \&\& extent != 1/' &&
    mutate "no bound on calls" flight.rs 's/(n < in_flight_max)/(MUTATED || n < in_flight_max)/' &&
    mutate "late answers are not counted" flight.rs 's/self.0.fetch_add(1, /self.0.fetch_add(u64::from(!MUTATED), /' || return
    program=$(binary "$house" --config profile.dev.package.ballast-coreml.debug=false --config profile.dev.package.coreml-simulator.debug=false) || return
    mutant "none" "$program" > /dev/null && { echo "the tests fail where nothing is broken"; return 1; }
    for name in "${mutants[@]}"; do
        mutant "$name" "$program" || return
    done
}

# mutant NAME PROGRAM: the tests must fail. They end soon after the first that does: nobody reads what they say then.
mutant() {
    local killed ended
    killed=$(COREML_MUTANT=$1 COREML_SIMULATOR_PREDICTIONS=200 LD_PRELOAD=$cache/lib/libBlocksRuntime.so \
        timeout "${COREML_SIMULATOR_SECONDS:-900}" "$2" 2> "$cache/mutant.log" | grep -m 1 '^test .* FAILED$'; exit "${PIPESTATUS[0]}")
    ended=$?
    [ "$ended" != 124 ] || { echo "mutant $1: its tests do not end"; return 1; }
    [ "$ended" != 0 ] || { echo "mutant $1: survived"; return 1; }
    echo "mutant $1: killed by ${killed:-the end of its process, $ended}"
}

# Memory that nothing leads to any more: as much after 4,000 predictions as after 1,000.
leaks() {
    command -v valgrind > /dev/null || { echo "skipped: core ml simulator under valgrind: there is no valgrind"; return 0; }
    local program n lost=()
    program=$(binary .) || return
    for n in 50 200; do
        LD_PRELOAD=$cache/lib/libBlocksRuntime.so COREML_SIMULATOR_PREDICTIONS=$n \
            timeout 500 valgrind --leak-check=full --show-leak-kinds=definite "$program" --test-threads=1 predictions_leave > "$cache/valgrind.log" 2>&1 ||
            { tail -n 20 "$cache/valgrind.log"; return 1; }
        lost+=("$(sed -n 's/.*definitely lost: \([0-9,]*\) bytes.*/\1/p' "$cache/valgrind.log" | tail -n 1)")
    done
    echo "leaks: definitely lost ${lost[0]} bytes with 50 predictions, ${lost[1]} with 200"
    [ "${lost[0]}" = "${lost[1]}" ]
}

# Packages of real models, in the fake framework and on the CPU.
packages() {
    local made=$cache/packages-1 program
    [ -x "${TENSOR_PYTHON:-}" ] || { echo "skipped: core ml simulator on real packages: there is no TENSOR_PYTHON"; return 0; }
    [ -d "${BALLAST_TENSOR_MODELS:-}" ] || { echo "skipped: core ml simulator on real packages: there are no BALLAST_TENSOR_MODELS"; return 0; }
    if [ ! -e "$made/done" ]; then
        rm -rf "$made" && mkdir -p "$made/tiny"
        "$TENSOR_PYTHON" scripts/tiny_package.py "$made/tiny/model.mlpackage" > "$cache/packages.log" 2>&1 &&
            "$TENSOR_PYTHON" -c '
import pathlib, sys
sys.path.insert(0, "oracles")
import real_packages
for name in ["silero", "ocr_cls"]:
    real_packages.real(pathlib.Path(sys.argv[1]), sys.argv[2], None, name)' "$made" "$BALLAST_TENSOR_MODELS" >> "$cache/packages.log" 2>&1 ||
            { tail -n 5 "$cache/packages.log"; return 1; }
        touch "$made/done"
    fi
    program=$(binary .) || return
    LD_PRELOAD=$cache/lib/libBlocksRuntime.so COREML_SIMULATOR_PACKAGES=$made timeout "${COREML_SIMULATOR_SECONDS:-900}" \
        "$program" --ignored --nocapture packages_that_are_named > "$cache/packages.log" 2>&1 || { tail -n 20 "$cache/packages.log"; return 1; }
    grep '^package ' "$cache/packages.log"
}

[ $# -gt 0 ] || set -- tests leaks packages mutants
for part in "$@"; do
    began=$SECONDS
    "$part" || { echo "core ml simulator: $part failed"; exit 1; }
    echo "core ml simulator: $part took $((SECONDS - began)) s"
done
