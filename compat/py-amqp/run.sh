#!/usr/bin/env bash
# The integration tests of py-amqp, which its source archive has; those of TLS are left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
cd "$COMPAT_WORK"
sdist amqp amqp 5.4.2
cd amqp-5.4.2
RABBITMQ_HOST=${AMQP%:*} RABBITMQ_5672_TCP=${AMQP##*:} RABBITMQ_5671_TCP=1 \
    "$python" -m pytest -q -p no:cacheprovider t/integration -k "not tls" $(deselected "$here/tests.allow") "$@"
