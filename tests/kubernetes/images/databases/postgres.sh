#!/bin/sh
# A PostgreSQL for one test session: makes its cluster where there is none, with the database airflow and the password of
# POSTGRES_PASSWORD, and starts it again when it dies, as those who run databases do: the kubelet alone would wait longer after each crash.
# A container that starts again finds its data.
set -eu
if [ ! -e "$PGDATA/ready" ]; then
  rm -rf "$PGDATA"
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --username=airflow --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo 'CREATE DATABASE airflow' | postgres --single -D "$PGDATA" postgres >/dev/null
  touch "$PGDATA/ready"
fi
trap 'kill -INT $server; wait $server; exit 0' TERM INT
while :; do
  postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c max_connections=100 -c shared_buffers=64MB &
  server=$!
  wait $server || echo "postgres ended with $?"
  sleep 0.2  # until its children have seen it
done
