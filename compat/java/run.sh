#!/usr/bin/env bash
# A smoke of RabbitMQ's own client for Java. Needs a JDK and Maven.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
libraries=$COMPAT_WORK/java
command -v java >/dev/null && command -v mvn >/dev/null || exit 69
[ -f "$libraries/amqp-client-5.28.0.jar" ] || mvn --quiet --batch-mode -f "$here/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory="$libraries" || exit 69
java -cp "$libraries/*" "$here/Smoke.java" "$AMQP"
