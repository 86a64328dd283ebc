#!/bin/sh
# A simulated sensor: it obeys sensors/t1/set and measures every second while it
# is on. It keeps its session, so it misses no command while it is away.
set -eu

host=${HOST:-127.0.0.1}
port=${PORT:-1883}
id=${ID:-t1}

dir=$(mktemp -d)
mkfifo "$dir/commands"
echo off >"$dir/state"

mosquitto_sub -h "$host" -p "$port" -i "sensor-$id" -c -q 1 -t "sensors/$id/set" >"$dir/commands" &
listener=$!
trap 'kill "$listener" 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
trap 'exit 0' INT TERM

# Ends with the listener.
while read -r command; do
  echo "$id is $command"
  echo "$command" >"$dir/state"
done <"$dir/commands" &

n=0
while kill -0 "$listener" 2>/dev/null; do
  if [ "$(cat "$dir/state")" = on ]; then
    n=$((n + 1))
    mosquitto_pub -h "$host" -p "$port" -q 1 -t "sensors/$id/temperature" -m "$((20 + n % 5)).$((n % 10))"
  fi
  sleep 1
done
echo "$id lost its connection" >&2
exit 1
