#!/usr/bin/env bash
# compat/rabbitmq.sh COMMAND...: runs a command beside Debian's RabbitMQ, started for it, with AMQP=HOST:PORT set:
#   compat/rabbitmq.sh compat/run.sh pika
# Needs the package rabbitmq-server. RABBITMQ_PORT is 5673 unless set otherwise.
set -euo pipefail
port=${RABBITMQ_PORT:-5673}
bin=${RABBITMQ_BIN:-/usr/lib/rabbitmq/bin}
[ -x "$bin/rabbitmq-server" ] || { echo "no $bin/rabbitmq-server: apt-get install rabbitmq-server" >&2; exit 1; }
data=$(mktemp -d)
export HOME=$data RABBITMQ_NODENAME=compat-$port@localhost RABBITMQ_NODE_PORT=$port \
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT=$((port + 20000)) ERL_EPMD_PORT=$((port + 10000)) \
    ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_MNESIA_BASE=$data RABBITMQ_LOG_BASE=$data \
    RABBITMQ_ENABLED_PLUGINS_FILE=$data/plugins RABBITMQ_PID_FILE=$data/pid RABBITMQ_CONFIG_FILE=$data/none \
    RABBITMQ_CONF_ENV_FILE=$data/none.env
echo '[rabbitmq_consistent_hash_exchange].' >"$RABBITMQ_ENABLED_PLUGINS_FILE"
"$bin/rabbitmq-server" >"$data/said" 2>&1 &
trap '"$bin/rabbitmqctl" -q stop "$RABBITMQ_PID_FILE" >"$data/stopped" 2>&1 || kill %1; wait; epmd -port $ERL_EPMD_PORT -kill >"$data/epmd" 2>&1 || true; rm -rf "$data"' EXIT
"$bin/rabbitmqctl" -q wait --timeout 60 "$RABBITMQ_PID_FILE" || { cat "$data/said" >&2; exit 1; }
AMQP=127.0.0.1:$port "$@"
