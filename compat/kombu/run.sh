#!/usr/bin/env bash
# The integration tests of kombu over py-amqp, which its source archive has.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
cd "$COMPAT_WORK"
[ -d kombu-5.7.0 ] || { "$python" -m pip download --quiet --no-deps --no-binary kombu kombu==5.7.0 && tar xzf kombu-5.7.0.tar.gz; }
cd kombu-5.7.0
deselect=()
while read -r test _; do
    case $test in ''|'#'*) ;; *) deselect+=(--deselect "$test") ;; esac
done <"$here/tests.allow"
RABBITMQ_HOST=${AMQP%:*} RABBITMQ_5672_TCP=${AMQP##*:}  \
    "$python" -m pytest -q -p no:cacheprovider t/integration/test_py_amqp.py "${deselect[@]}"
