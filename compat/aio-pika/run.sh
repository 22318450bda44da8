#!/usr/bin/env bash
# The tests of aio-pika, which its source archive has; those of TLS are left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
cd "$COMPAT_WORK"
[ -d aio_pika-10.2.1 ] || { "$python" -m pip download --quiet --no-deps --no-binary aio-pika aio-pika==10.2.1 && tar xzf aio_pika-10.2.1.tar.gz; }
cd aio_pika-10.2.1
deselect=()
while read -r test _; do
    case $test in ''|'#'*) ;; *) deselect+=(--deselect "$test") ;; esac
done <"$here/tests.allow"
PYTHONPATH="$here:." "$python" -m pytest -q -p no:cacheprovider -p longshore_plugin --timeout 60 tests \
    -k "not amqps" "${deselect[@]}"
