#!/usr/bin/env bash
# The tests of aiormq, which its source archive has; those of TLS are left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
cd "$COMPAT_WORK"
sdist aiormq aiormq 7.2.4
cd aiormq-7.2.4
PYTHONPATH="$here:." "$python" -m pytest -q -p no:cacheprovider -p longshore_plugin --timeout 60 tests \
    -k "not amqps" $(deselected "$here/tests.allow") "$@"
