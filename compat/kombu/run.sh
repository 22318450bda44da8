#!/usr/bin/env bash
# The integration tests of kombu over py-amqp, which its source archive has.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
cd "$COMPAT_WORK"
sdist kombu kombu 5.7.0
cd kombu-5.7.0
RABBITMQ_HOST=${AMQP%:*} RABBITMQ_5672_TCP=${AMQP##*:}  \
    "$python" -m pytest -q -p no:cacheprovider t/integration/test_py_amqp.py $(deselected "$here/tests.allow") "$@"
