#!/usr/bin/env bash
# Type-checks what must build on Apple's systems for aarch64-apple-darwin. With rustup's standard library for that
# target where it can be added; else with Debian's rustc-web and its matching source, fetched into the cache and not
# installed. Prints `skipped: ..` where neither can be had. Nothing is linked and nothing is run.
#
# BALLAST_CACHE        folder for what is fetched; default $HOME/.cache/ballast-ci
# BALLAST_APPLE_RUSTC  "debian" takes Debian's compiler although rustup would do
set -u -o pipefail
cd "$(dirname "$0")/.."
target=aarch64-apple-darwin
cache=${BALLAST_CACHE:-$HOME/.cache/ballast-ci}/apple
crates=(ballast-artifacts ballast-backend ballast-coreml ballast-runtime ballast-tensor ballast ballast-server ballast-cli)

skip() { echo "skipped: check for $target: $1"; exit 0; }

# C code cannot be compiled for this target here, and need not be: nothing is linked. A stand-in for the compiler and for
# the archiver of such crates writes empty files.
stand_ins() {
    mkdir -p "$cache/c"
    cat > "$cache/c/cc" << 'END'
#!/bin/sh
case " $* " in *" -E "*) echo clang; exit 0 ;; esac
while [ $# -gt 0 ]; do [ "$1" = -o ] && : > "$2"; shift; done
END
    printf '#!/bin/sh\nfor file; do case $file in *.a) : > "$file" ;; esac; done\n' > "$cache/c/ar"
    chmod +x "$cache/c/cc" "$cache/c/ar"
    export CC_aarch64_apple_darwin="$cache/c/cc" CXX_aarch64_apple_darwin="$cache/c/cc" AR_aarch64_apple_darwin="$cache/c/ar"
    export SDKROOT="$cache/c"
}

# Where a build script does more than that, the crate is left out and named.
check() {
    local crate failed=0
    stand_ins
    for crate in "${crates[@]}"; do
        if "$@" cargo check --quiet --target "$target" --package "$crate" ${flags[@]+"${flags[@]}"} > "$cache/check.log" 2>&1; then
            echo "checked for $target: $crate"
        elif grep -q 'failed to run custom build command' "$cache/check.log" && ! grep -q '^error\[E' "$cache/check.log"; then
            echo "skipped: check for $target: $crate: $(grep -m 1 -o 'custom build command for `[^`]*`' "$cache/check.log") needs a C compiler for it"
        else
            grep -v '^ *Compiling\|^ *Checking' "$cache/check.log" | head -n 40
            echo "check for $target: $crate failed"
            failed=1
        fi
    done
    return $failed
}

mkdir -p "$cache"
flags=()
if [ "${BALLAST_APPLE_RUSTC:-}" != debian ] && command -v rustup > /dev/null &&
    rustup target add "$target" > "$cache/rustup.log" 2>&1; then
    echo "compiler: $(rustc --version), target added by rustup"
    check env
    exit
fi

# Compiler and source must be of one version; cargo stays the one in use.
command -v apt-get > /dev/null && command -v dpkg > /dev/null || skip "rustup cannot add it, and there is no apt-get"
if [ ! -e "$cache/debian.done" ]; then
    apt-get update > "$cache/apt.log" 2>&1 || true
    version=$(apt-cache madison rustc-web | awk 'NR == 1 { print $3 }')
    [ -n "$version" ] || skip "rustup cannot add it, and Debian's rustc-web is not to be had"
    short=$(echo "$version" | cut -d . -f 1,2)
    mkdir -p "$cache/deb"
    (cd "$cache/deb" && apt-get download "rustc-web=$version" "rust-web-src=$version" "libstd-rust-web-dev=$version" \
        "libstd-rust-web-$short=$version" &&
        apt-get download "$(dpkg -I rustc-web_*.deb | grep -o 'libllvm[0-9]*' | head -n 1 ||
            dpkg -I libstd-rust-web-"$short"_*.deb | grep -o 'libllvm[0-9]*' | head -n 1)") > "$cache/apt.log" 2>&1 ||
        skip "$(tail -n 1 "$cache/apt.log")"
    for deb in "$cache"/deb/*.deb; do dpkg -x "$deb" "$cache/root" || skip "dpkg could not unpack $deb"; done
    touch "$cache/debian.done"
fi
(cd "$cache/deb" && sha256sum ./*.deb)
flags=(-Zbuild-std)
check env LD_LIBRARY_PATH="$cache/root/usr/lib/x86_64-linux-gnu" RUSTC="$cache/root/usr/bin/rustc" RUSTC_BOOTSTRAP=1
