#!/usr/bin/env bash
# The acceptance tests of pika, which the source package of Debian has; those of TLS are left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../python.sh"
source "$here/../debian-source.sh"
debian_source python-pika 1.3.2-1 python-pika_1.3.2.orig.tar.gz
cd "$COMPAT_WORK/python-pika"
PYTHONPATH="$here:." "$python" -m pytest -q -p no:cacheprovider -p longshore_plugin --timeout 60 \
    tests/acceptance/blocking_adapter_test.py tests/acceptance/async_adapter_tests.py \
    $(deselected "$here/tests.allow") "$@"
