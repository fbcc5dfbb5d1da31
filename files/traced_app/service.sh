#!/usr/bin/env bash
# Restarts the app's service, checks that every endpoint answers, and reports the deployment to Datadog.
# Variables: unit, port, endpoints (paths with blanks between), tags (with commas between), version.
# Standard input: fingerprints of the app's files, so that a change reruns the step.
# Source: https://docs.datadoghq.com/extend/dogstatsd/datagram_shell/?tab=events
set -eu
: "${unit:?}" "${port:?}" "${endpoints:?}" "${tags:?}" "${version:?}"
use files/host/cause.sh

fail() {
  journalctl --unit "$unit" --lines 20 --no-pager >&2
  give_up "$*"
}

case $1 in
check)
  state=$(systemctl is-enabled "$unit" || true),$(systemctl is-active "$unit" || true)
  [ "$state" = enabled,active ] || { echo "$unit is $state" >&2 && exit 1; }
  for endpoint in $endpoints; do
    curl --noproxy '*' --fail --silent --show-error --output /dev/null --max-time 5 "http://127.0.0.1:$port$endpoint"
  done
  ;;
apply)
  keep_undo app-service unit port endpoints tags version
  systemctl daemon-reload
  enable_service "$unit"
  systemctl reset-failed "$unit" 2>/dev/null || true
  systemctl stop "$unit" || true
  # Another program's answers would be taken for the app's.
  holder=$(port_holder "$port")
  [ -z "$holder" ] ||
    give_up "port $port on $(hostname) is taken by $holder: set watchpost:appPort to another one, or stop it there"
  systemctl start "$unit" || fail "$unit does not start"
  deadline=$((SECONDS + 60))
  for endpoint in $endpoints; do
    until curl --noproxy '*' --fail --silent --show-error --output /dev/null --max-time 5 "http://127.0.0.1:$port$endpoint"; do
      [ $SECONDS -lt $deadline ] || fail "$unit does not answer at http://127.0.0.1:$port$endpoint"
      sleep 0.5
    done
    echo "$endpoint answers"
  done
  title="Deployed $unit $version"
  text="Started on $(hostname) by Watchpost"
  printf '_e{%d,%d}:%s|%s|s:watchpost|#%s' ${#title} ${#text} "$title" "$text" "$tags" >/dev/udp/127.0.0.1/8125 || true
  ;;
remove)
  systemctl disable --quiet --now "$unit" 2>/dev/null || true
  undone app-service
  ;;
esac
