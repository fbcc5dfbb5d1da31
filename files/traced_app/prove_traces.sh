#!/usr/bin/env bash
# Calls the app until the Agent has received traces of it, and prints how many in its last minute.
# Variables: port, endpoints (paths with blanks between). Standard input: fingerprints, as service.sh.
set -eu
: "${port:?}" "${endpoints:?}"
[ "$1" = apply ] || exit 0

# The Agent publishes these figures once a minute.
deadline=$((SECONDS + 150))
while [ $SECONDS -lt $deadline ]; do
  for endpoint in $endpoints; do
    # After a reboot, the app may still be starting.
    curl --fail --silent --show-error --output /dev/null --max-time 5 "http://127.0.0.1:$port$endpoint" || true
  done
  sleep 1
  if datadog-agent status --json 2>/dev/null | python3 -c '
import json, sys

receivers = (json.load(sys.stdin).get("apmStats") or {}).get("receiver") or []
python = [receiver for receiver in receivers if receiver.get("Lang") == "python"]
traces = sum(receiver["TracesReceived"] for receiver in python)
if not traces:
    sys.exit(1)
print(json.dumps({"traces": traces, "tracer": python[0]["TracerVersion"]}))
'; then
    exit 0
  fi
done
echo "watchpost: the Agent received no trace of the app in $SECONDS s; check apm_config in datadog.yaml and 'datadog-agent status'" >&2
exit 1
