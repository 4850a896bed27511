#!/usr/bin/env bash
# Runs crates/coreml, unchanged, on Linux: against GNUstep's Foundation and the fake Core ML classes of
# simulator/coreml. Fetches GNUstep's runtime libraries from Debian into the cache; nothing is installed. Prints
# `skipped: ..` where something cannot be had.
#
# coreml-simulator.sh [tests|mutants|leaks]...    default: tests mutants leaks
# BALLAST_CACHE   folder for what is fetched; default $HOME/.cache/ballast-ci
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
        timeout "${COREML_SIMULATOR_SECONDS:-500}" cargo "$@" "${patches[@]}")
}

tests() { in_house . test --locked; }

# mutant NAME FILE SED: the tests must fail where the source is broken so.
mutant() {
    local house=$cache/mutant
    rm -rf "$house" && mkdir -p "$house"
    cp -r Cargo.toml crates simulator "$house/"
    sed -i "$3" "$house/crates/coreml/src/$2"
    if cmp -s "crates/coreml/src/$2" "$house/crates/coreml/src/$2"; then
        echo "mutant $1: the source has nothing to break"; return 1
    fi
    if in_house "$house" test --locked --quiet > "$cache/mutant.log" 2>&1; then
        echo "mutant $1: survived"; return 1
    fi
    grep -q 'test result: FAILED\|panicked' "$cache/mutant.log" || { tail -n 5 "$cache/mutant.log"; return 1; }
    echo "mutant $1: killed by $(grep -m 1 -o '^test .* FAILED\|^    [a-z_:]*$' "$cache/mutant.log")"
}

mutants() {
    mutant "no pools" apple/raw.rs 's/    autoreleasepool(|_| body())/    body()/' || return
    mutant "handlers without a pool" apple/answer.rs 's/pooled(|| catch_unwind(\(.*\)));$/(|| catch_unwind(\1))();/' || return
    mutant "strides ignored" layout.rs 's/if stride != run \&\& extent != 1/if false/' || return
    mutant "no bound on calls" flight.rs 's/(n < in_flight_max).then_some(n + 1)/Some(n + 1)/' || return
}

# Memory that nothing leads to any more: as much after 4,000 predictions as after 1,000.
leaks() {
    command -v valgrind > /dev/null || { echo "skipped: core ml simulator under valgrind: there is no valgrind"; return 0; }
    local binary n lost=()
    binary=$(in_house . test --locked --test simulator --no-run 2>&1 | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
    for n in 50 200; do
        LD_PRELOAD=$cache/lib/libBlocksRuntime.so COREML_SIMULATOR_PREDICTIONS=$n \
            timeout 500 valgrind --leak-check=full --show-leak-kinds=definite "$binary" --test-threads=1 predictions_leave > "$cache/valgrind.log" 2>&1 ||
            { tail -n 20 "$cache/valgrind.log"; return 1; }
        lost+=("$(sed -n 's/.*definitely lost: \([0-9,]*\) bytes.*/\1/p' "$cache/valgrind.log" | tail -n 1)")
    done
    echo "leaks: definitely lost ${lost[0]} bytes with 50 predictions, ${lost[1]} with 200"
    [ "${lost[0]}" = "${lost[1]}" ]
}

[ $# -gt 0 ] || set -- tests mutants leaks
for part in "$@"; do
    "$part" || { echo "core ml simulator: $part failed"; exit 1; }
done
