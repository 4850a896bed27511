# The commands of the house. `just check` is what CI runs, less what needs other programs.

cache := env("BALLAST_CACHE", env("HOME") / ".cache/ballast-ci")

# Everything that must hold before a change goes in.
check: fmt lint test doc tidy deny

# Format check.
fmt:
    cargo fmt --all --check

# Lints, warnings denied.
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# All tests.
test:
    cargo test --workspace

# Documentation, warnings denied.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

# The rules of docs/STYLE.md that no compiler knows.
tidy:
    cargo xtask tidy

# Licences, sources and advisories of what we depend on.
deny:
    cargo deny check

# Memory that threads, pools and faults lose, under valgrind.
leaks:
    scripts/leaks.sh

# What the runtime costs beside the work itself, beside the seeds' figures.
overheads *flags:
    cargo run --release --package ballast-runtime --example overheads -- {{flags}}

# Guards taken out of the runtime, one at a time: does a test notice? Takes a while.
mutants:
    cargo xtask mutants

# Half a minute of fuzzing, shared among the targets.
fuzz-smoke:
    scripts/fuzz-smoke.sh 30

# Minutes of load and faults on the model that BALLAST_TEST_MODEL names; a gate that fails fails it.
soak minutes="2":
    cargo build --release --package ballast-cli
    scripts/soak-smoke.sh {{minutes}}

# The kernels for aarch64, under qemu.
aarch64:
    scripts/aarch64.sh

# What the oracles compare against, fetched and built into the cache.
peer:
    scripts/oracle-tools.sh {{cache}}
    . {{cache}}/env.sh && PATH="$(dirname "$BALLAST_PYTHON"):$PATH" scripts/peer.sh "$BALLAST_LLAMA_CPP" {{cache}}

# All comparisons with other implementations, in every format: the whole of CI with nothing left out.
oracles:
    BALLAST_ORACLES=all .ci/run

# Figures for docs/BENCHMARKS.md, beside peers: just benchmarks FOLDER-OF-THE-PEER MODEL..; the folder is what
# `just peer` prints.
benchmarks peer *models:
    scripts/benchmarks.sh {{peer}} {{models}}

# Speed of the release build on a model file.
bench model *flags:
    cargo build --release --package ballast-cli
    target/release/ballast bench {{model}} {{flags}}
