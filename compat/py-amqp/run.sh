#!/usr/bin/env bash
# The integration tests of py-amqp, which its source archive has; those of TLS are left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
cd "$COMPAT_WORK"
[ -d amqp-5.4.2 ] || { "$python" -m pip download --quiet --no-deps --no-binary amqp amqp==5.4.2 && tar xzf amqp-5.4.2.tar.gz; }
cd amqp-5.4.2
deselect=()
while read -r test _; do
    case $test in ''|'#'*) ;; *) deselect+=(--deselect "$test") ;; esac
done <"$here/tests.allow"
RABBITMQ_HOST=${AMQP%:*} RABBITMQ_5672_TCP=${AMQP##*:} RABBITMQ_5671_TCP=1 \
    "$python" -m pytest -q -p no:cacheprovider t/integration -k "not tls" "${deselect[@]}"
