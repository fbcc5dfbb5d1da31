#!/usr/bin/env bash
# Calls the app until the Agent has received traces and forwarded some; reports how many in the last minute.
# Source: pkg/trace/writer in https://github.com/DataDog/datadog-agent, for what counts as sent and as refused.
# Variables: port, endpoints (paths with blanks between), url (where the Agent sends traces, left out for the site; only
# so that a change reruns the step). Standard input: fingerprints, as service.sh.
set -eu
: "${port:?}" "${endpoints:?}"
[ "$1" = apply ] || exit 0
use files/host/cause.sh

# The Agent publishes these figures once a minute.
deadline=$((SECONDS + 150))
said=
seen=no
while [ $seen = no ] && [ $SECONDS -lt $deadline ]; do
  for endpoint in $endpoints; do
    # After a reboot, the app may still be starting.
    curl --noproxy '*' --fail --silent --show-error --output /dev/null --max-time 5 "http://127.0.0.1:$port$endpoint" || true
  done
  sleep 1
  said=$(as_agent datadog-agent status --json 2>/dev/null | python3 -c '
import json, sys

try:
    stats = json.load(sys.stdin).get("apmStats") or {}
except ValueError:
    sys.exit("the Agent does not tell its status")
python = [receiver for receiver in stats.get("receiver") or [] if receiver.get("Lang") == "python"]
traces = sum(receiver["TracesReceived"] for receiver in python)
if not traces:
    sys.exit("the Agent received no trace of the app: check apm_config in datadog.yaml")
writers = [stats.get(name) or {} for name in ("trace_writer", "stats_writer")]
if not any(writer.get("Payloads") for writer in writers):
    endpoints = (stats.get("config") or {}).get("Endpoints") or [{}]
    where = endpoints[0].get("Host") or "Datadog"
    refused = any(writer.get("Errors") for writer in writers)
    what = f"{where} refuses the traces of the Agent" if refused else f"the Agent can not send its traces to {where}"
    sys.exit(f"{what}: check watchpost:traceUrl (watchpost:site where it is empty) and datadog:apiKey")
print(json.dumps({"traces": traces, "tracer": python[0]["TracerVersion"]}))
' 2>&1) && seen=yes
done
[ $seen = yes ] || {
  holder=$(port_holder 8126)
  process=${holder##*process }
  [[ $said != *'received no trace'* || -z $holder || $(stat -c %U "/proc/${process%)}" 2>/dev/null) == dd-agent ]] ||
    said="port 8126 on $(hostname), where the Agent takes traces, is taken by $holder: stop it there"
  echo "watchpost: ${said##*$'\n'} (waited $SECONDS s; 'datadog-agent status' tells more)" >&2
  exit 1
}
report "$said"
