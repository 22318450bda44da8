#!/bin/sh
# Runs the suite against the broker at $1 (default 127.0.0.1:9092), in a Python environment of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${VENV:-$here/../../target/compat/kafka-python-clients}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet -r "$here/requirements.txt"
exec "$venv/bin/python" "$here/suite.py" "${1:-127.0.0.1:9092}"
