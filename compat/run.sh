#!/usr/bin/env bash
# compat/run.sh CLIENT...: runs the tests of clients, against a server of their own unless AMQP=HOST:PORT says where one is.
# compat/run.sh --full runs those of all. Ends with 69 where nothing failed and some client could not be had.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${LONGSHORE_BIN:-$here/../target/debug/longshore}
work=${COMPAT_WORK:-$here/../target/compat}
mkdir -p "$work"
if [ "${1:-}" = --full ]; then
    set -- $(cd "$here" && for run in */run.sh; do dirname "$run"; done | grep -v '^kafka')
fi
if [ -z "${AMQP:-}" ]; then
    data=$(mktemp -d)
    : >"$data/said"
    "$bin" serve --listen 127.0.0.1:0 --amqp 127.0.0.1:0 --management 127.0.0.1:0 --data "$data/store" \
        >"$data/said" 2>"$data/log" &
    server=$!
    trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$data"' EXIT
    for _ in $(seq 100); do
        AMQP=$(sed -n 's,^listening on amqp://,,p' "$data/said")
        [ -n "$AMQP" ] && break
        sleep 0.1
    done
    for _ in $(seq 100); do
        MANAGEMENT=$(sed -n 's,^listening on management://,,p' "$data/said")
        [ -n "$MANAGEMENT" ] && break
        sleep 0.1
    done
    [ -n "$AMQP" ] || { cat "$data/log" >&2; exit 1; }
fi
export AMQP MANAGEMENT=${MANAGEMENT:-} COMPAT_WORK=$work
failed=0 missing=0
for client in "$@"; do
    echo "== $client against $AMQP"
    code=0
    "$here/$client/run.sh" || code=$?
    case $code in
        0) ;;
        69) echo "== $client cannot be had here" >&2; missing=69 ;;
        *) echo "== $client failed" >&2; failed=1 ;;
    esac
done
[ $failed = 0 ] || exit $failed
exit $missing
