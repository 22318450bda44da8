#!/usr/bin/env bash
# The tests of aio-pika, which its source archive has; those of TLS are left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
cd "$COMPAT_WORK"
sdist aio-pika aio_pika 10.2.1
cd aio_pika-10.2.1
PYTHONPATH="$here:." "$python" -m pytest -q -p no:cacheprovider -p longshore_plugin --timeout 60 tests \
    -k "not amqps" $(deselected "$here/tests.allow") "$@"
