#!/usr/bin/env bash
# The real rabbitmqadmin against the management API at MANAGEMENT=HOST:PORT, of Longshore or of RabbitMQ:
#   MANAGEMENT=127.0.0.1:15672 compat/rabbitmqadmin/run.sh
# Prints a line for each check; ends with 1 at the first that fails. Needs rabbitmqadmin (Debian: rabbitmq-server).
set -euo pipefail
[ -n "${MANAGEMENT:-}" ] || { echo "MANAGEMENT says where no management API is" >&2; exit 69; }
admin=${RABBITMQADMIN:-rabbitmqadmin}
command -v "$admin" >/dev/null || { echo "no $admin: apt-get install rabbitmq-server" >&2; exit 69; }
folder=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
host=${MANAGEMENT%:*} port=${MANAGEMENT##*:}
say() { python3 "$(command -v "$admin")" -H "$host" -P "$port" "$@"; }
raw() { say -f raw_json "$@"; }
# check NAME EXPRESSION COMMAND...: what the command tells as JSON has that in it (Python, `it`).
check() {
    local name=$1 expression=$2
    shift 2
    "$@" >"$work/said" || { echo "FAIL $name: $*"; exit 1; }
    python3 -c "import json, sys; it = json.load(open(sys.argv[1])); sys.exit(0 if ($expression) else 1)" "$work/said" ||
        { echo "FAIL $name: $expression of"; cat "$work/said"; exit 1; }
    echo "PASS $name"
}
names() { echo "[x['name'] for x in it]"; }

check overview "it[0]['rabbitmq_version'] and 'queue_totals' in it[0]" raw show overview
check nodes "len(it) == 1 and it[0]['running']" raw list nodes
check vhosts "'/' in $(names)" raw list vhosts
check users "'guest' in $(names)" raw list users
check connections "isinstance(it, list)" raw list connections
check channels "isinstance(it, list)" raw list channels
check consumers "isinstance(it, list)" raw list consumers
say -q declare exchange name=orders type=topic
say -q declare exchange name=orders type=topic
say -q declare queue name=mail durable=true 'arguments={"x-max-length":100,"x-queue-type":"quorum"}'
say -q declare queue name=graves
say -q declare binding source=orders destination=mail 'routing_key=order.#'
check exchanges "'orders' in $(names) and 'amq.topic' in $(names) and '' in $(names)" raw list exchanges
check queue "[x for x in it if x['name'] == 'mail'][0]['arguments']['x-max-length'] == 100" raw list queues
check bindings "any(x['source'] == 'orders' and x['routing_key'] == 'order.#' for x in it)" raw list bindings
if say -q declare exchange name=orders type=direct 2>"$work/why"; then
    echo "FAIL a declaration with another type is taken"
    exit 1
fi
echo "PASS inequivalent"
say publish exchange=orders routing_key=order.paid payload=hello | grep -q 'Message published'
say publish exchange=orders routing_key=other payload=x | grep -q 'NOT routed'
say -q publish routing_key=mail payload=second 'properties={"delivery_mode":2,"content_type":"text/plain","headers":{"n":7}}'
sleep "${SETTLES:-0}"
check look "[x['payload'] for x in it] == ['hello', 'second']" raw get queue=mail count=5
check look-again "it[1]['properties']['headers']['n'] == 7" raw get queue=mail count=5
check take "it[0]['payload'] == 'hello' and it[0]['message_count'] == 1" raw get queue=mail ackmode=ack_requeue_false
say -q purge queue name=mail
check purged "it == []" raw get queue=mail
say -q declare policy name=short 'pattern=^mail$' 'definition={"message-ttl":60000,"dead-letter-exchange":"","dead-letter-routing-key":"graves"}' apply-to=queues priority=3
check policies "it[0]['definition']['message-ttl'] == 60000 and it[0]['apply-to'] == 'queues'" raw list policies
say -q publish routing_key=mail payload=third
check reject "it[0]['payload'] == 'third'" raw get queue=mail ackmode=reject_requeue_false
sleep "${SETTLES:-0}"
check letter "it[0]['payload'] == 'third'" raw get queue=graves
say -q declare user name=ann password=correct-horse tags=monitoring
check user "[x['tags'] for x in it if x['name'] == 'ann'][0] in (['monitoring'], 'monitoring')" raw list users
say -q declare permission vhost=/ user=ann 'configure=^$' 'write=^orders$' 'read=^mail$'
check permission "[(x['configure'], x['write'], x['read']) for x in it if x['user'] == 'ann'] == [('^$', '^orders$', '^mail$')]" raw list permissions
say -q declare user name=ann password=another-horse tags=administrator
check user-changed "[x['tags'] for x in it if x['name'] == 'ann'][0] in (['administrator'], 'administrator')" raw list users
say -q delete permission vhost=/ user=ann
say -q delete user name=ann
check user-gone "'ann' not in $(names)" raw list users
say -q export "$work/definitions.json"
check export "{'mail', 'graves'} <= {q['name'] for q in it['queues']} and it['policies'][0]['name'] == 'short'" cat "$work/definitions.json"
say -q delete policy name=short
key=$(raw list bindings | python3 -c "import json, sys; print([x['properties_key'] for x in json.load(sys.stdin) if x['source'] == 'orders'][0])")
say -q delete binding source=orders destination_type=queue destination=mail "properties_key=$key"
say -q delete queue name=mail
say -q delete queue name=graves
say -q delete exchange name=orders
check gone "'mail' not in $(names)" raw list queues
say -q import "$work/definitions.json"
check import "{'mail', 'graves'} <= set($(names))" raw list queues
check import-bindings "any(x['source'] == 'orders' for x in it)" raw list bindings
say -q import "$folder/definitions-3.10.json"
check import-of-3.10 "{'moved', 'moved-quorum'} <= set($(names))" raw list queues
say -q delete queue name=mail
say -q delete queue name=graves
