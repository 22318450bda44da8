#!/usr/bin/env bash
# A smoke of ours with RabbitMQ's client for Go, then the client's own tests, which its module has.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
command -v go >/dev/null || exit 69
go mod download || exit 69
go run . "$AMQP"
[ "${1:-}" != smoke ] || exit 0
module=$COMPAT_WORK/amqp091-go
if [ ! -d "$module" ]; then
    cp -r "$(go list -m -f '{{.Dir}}' github.com/rabbitmq/amqp091-go)" "$module"
    chmod -R u+w "$module"
fi
cd "$module"
go mod download || exit 69
except=$(grep -v '^#' "$here/tests.allow" | cut -d' ' -f1 | paste -sd'|' || true)
AMQP_URL="amqp://guest:guest@$AMQP/" go test -tags integration -count 1 -timeout 300s -skip "^(${except:-none at all})\$" .
