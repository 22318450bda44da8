#!/usr/bin/env bash
# Kafka Streams against the broker at $KAFKA (default 127.0.0.1:9092). Needs a JDK and Maven.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
libraries=${COMPAT_WORK:-$here/../../target/compat}/kafka-streams
command -v java >/dev/null && command -v mvn >/dev/null || exit 69
[ -f "$libraries/kafka-streams-4.1.0.jar" ] || mvn --quiet --batch-mode -f "$here/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies -DoutputDirectory="$libraries" || exit 69
java -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$libraries/*" "$here/WordCount.java" "${KAFKA:-127.0.0.1:9092}"
