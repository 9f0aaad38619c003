#!/bin/sh
# Makes one cluster of six servers where there is none, and waits until it serves. redis-cli takes the password from REDISCLI_AUTH.
set -eu
port=${PORT:-6379}
nodes=${NODES:-"172.31.240.21 172.31.240.22 172.31.240.23 172.31.240.24 172.31.240.25 172.31.240.26"}
first=${nodes%% *}

# All of it: without cluster-require-full-coverage the state is ok as soon as there are some slots.
serves() {
  redis-cli -h "$first" -p "$port" cluster info | grep -q '^cluster_slots_ok:16384'
}
alone() {
  redis-cli -h "$first" -p "$port" cluster info | grep -q '^cluster_known_nodes:1[^0-9]*$'
}

if ! serves && alone; then
  addresses=
  for node in $nodes; do addresses="$addresses $node:$port"; done
  # shellcheck disable=SC2086
  redis-cli --cluster create $addresses --cluster-replicas 1 --cluster-yes
fi
tries=0
until serves; do
  tries=$((tries + 1))
  if [ "$tries" -gt 60 ]; then
    echo 'the cluster does not serve: look at the logs of redis-1 to redis-6' >&2
    exit 1
  fi
  sleep 1
done
