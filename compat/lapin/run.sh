#!/usr/bin/env bash
# The tests of lapin, which its crate has, over tokio and smol; without TLS, which would build a C library.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=4.12.3
command -v cargo >/dev/null || exit 69
source=$COMPAT_WORK/lapin-$version
if [ ! -d "$source" ]; then
    fetch=$COMPAT_WORK/lapin-fetch
    mkdir -p "$fetch/src"
    : >"$fetch/src/lib.rs"
    cat >"$fetch/Cargo.toml" <<END
[package]
name = "fetch"
[workspace]
[dependencies]
lapin = { version = "=$version", default-features = false }
END
    cargo fetch --quiet --manifest-path "$fetch/Cargo.toml" || exit 69
    manifest=$(cargo metadata --quiet --format-version 1 --offline --manifest-path "$fetch/Cargo.toml" |
        grep -o "\"manifest_path\":\"[^\"]*/lapin-$version/Cargo.toml\"" | cut -d'"' -f4)
    cp -r "$(dirname "$manifest")" "$source.new"
    chmod -R u+w "$source.new"
    printf '\n[workspace]\n' >>"$source.new/Cargo.toml"
    mv "$source.new" "$source"
fi
cd "$source"
cargo fetch --quiet --locked || exit 69
skip=()
while read -r name _; do
    skip+=(--skip "$name")
done < <(grep -v '^#' "$here/tests.allow" || true)
# Some of them use the same queues as others, so one runs after the other.
CARGO_TARGET_DIR=$COMPAT_WORK/lapin-target AMQP_ADDR="amqp://guest:guest@$AMQP/%2f" \
    cargo test --quiet --locked --no-default-features --features tokio,smol --tests "$@" -- --test-threads 1 "${skip[@]}"
