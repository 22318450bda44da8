#!/usr/bin/env bash
# The functional tests of php-amqplib, which the source package of Debian has. Needs php-cli, php-bcmath, php-phpseclib3 and
# phpunit. Those that need Toxiproxy skip themselves.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
command -v php >/dev/null && command -v phpunit >/dev/null || exit 69
source "$here/../debian-source.sh"
debian_source php-amqplib 3.7.3-1 php-amqplib_3.7.3.orig.tar.xz
cd "$COMPAT_WORK/php-amqplib"
mkdir -p vendor
cp "$here/autoload.php" vendor/
except=$(grep -v '^#' "$here/tests.allow" | cut -d' ' -f1 | paste -sd'|' || true)
TEST_RABBITMQ_HOST=${AMQP%:*} TEST_RABBITMQ_PORT=${AMQP##*:} \
    phpunit --no-configuration --bootstrap tests/bootstrap.php --filter "/^(?!.*(${except:-none at all})).*\$/" \
    tests/Functional
