#!/usr/bin/env bash
# Restarts the Agent, waits until it is healthy and sends data, and checks that it has loaded its checks.
# Variables: checks (names with blanks between), version (the requested one). Standard input: fingerprints of the files
# that the Agent reads. A change of either reruns the step.
# Source: https://docs.datadoghq.com/agent/configuration/agent-commands/; for what `status` holds, forwarder_health.go and
# transaction.go below comp/forwarder/defaultforwarder, and pkg/collector/scheduler.go, in github.com/DataDog/datadog-agent
set -eu
: "${checks:?}" "${version:=}"
[ "$1" != remove ] || exit 0
use files/host/cause.sh
use files/host/folder.sh

# One word: `sending`, `refused` (the key), `unreachable`, or none while the Agent doesn't know.
# Its health doesn't show that: an Agent that reaches nobody calls itself healthy. One valid key of several will do.
delivery() {
  as_agent datadog-agent status --json 2>/dev/null | python3 -c '
import json, sys

try:
    stats = json.load(sys.stdin).get("forwarderStats") or {}
except ValueError:
    sys.exit()
said = {*(stats.get("APIKeyStatus") or {}).values(), *(stats.get("APIKeyFailure") or {}).values()}
if "API Key valid" in said:
    print("sending")
elif "API Key invalid" in said:
    print("refused")
elif (stats.get("Transactions") or {}).get("Success"):
    print("sending")
elif said:
    print("unreachable")
'
}

# Why no data arrives, as a sentence, for a word of `delivery`.
why_nothing_arrives() {
  local url site
  url=$(folder show /etc/datadog-agent/datadog.yaml | sed -n "s/^dd_url: *//p")
  site=$(folder show /etc/datadog-agent/datadog.yaml | sed -n "s/^site: *//p")
  case $1,$url in
  refused,) echo "Datadog refuses the Agent's API key: check datadog:apiKey, and that the account is on ${site:-the site} (watchpost:site)" ;;
  refused,*) echo "$url (watchpost:agentUrl) refuses the Agent's API key: check datadog:apiKey" ;;
  *,) echo "the Agent doesn't reach Datadog on ${site:-the site} (watchpost:site), so nothing of what it collects arrives: check the host's firewall and proxy" ;;
  *) echo "the Agent gets no answer from $url (watchpost:agentUrl), so nothing of what it collects arrives: check the address and the way there" ;;
  esac
}

# A line with the reason for each given check that the Agent can't load, which configcheck lists all the same.
unloadable() {
  as_agent datadog-agent status --json 2>/dev/null | python3 -c '
import json, sys

try:
    errors = (json.load(sys.stdin).get("checkSchedulerStats") or {}).get("LoaderErrors") or {}
except ValueError:
    sys.exit()
for name in sys.argv[1:]:
    if reasons := errors.get(name):
        reason = reasons.get("Python Check Loader") or next(iter(reasons.values()))
        print(f"{name} ({reason.strip().splitlines()[-1]})")
' "$@"
}

fail() {
  journalctl --unit datadog-agent --lines 20 --no-pager >&2 || true
  give_up "$*"
}

if [ "$1" = check ]; then
  state=$(systemctl is-enabled datadog-agent || true),$(systemctl is-active datadog-agent || true)
  [ "$state" = enabled,active ] || { echo "the Agent's service is $state" >&2 && exit 1; }
  as_agent datadog-agent health >/dev/null || { echo "the Agent is not healthy" >&2 && exit 1; }
  exit 0
fi
enable_service datadog-agent
systemctl reset-failed datadog-agent 2>/dev/null || true
systemctl restart datadog-agent || fail "the Agent's service does not start"
deadline=$((SECONDS + 120))
until as_agent datadog-agent health >/dev/null 2>&1; do
  [ "$(delivery)" != refused ] || fail "$(why_nothing_arrives refused)"
  ! systemctl is-failed --quiet datadog-agent || fail "the Agent ends as soon as it starts: $(as_agent datadog-agent health 2>&1 | head -n 1)"
  [ $SECONDS -lt $deadline ] || fail "the Agent is not healthy after two minutes: $(as_agent datadog-agent health 2>&1 | tail -n 5)"
  sleep 1
done
deadline=$((SECONDS + 60))
until found=$(delivery) && [ "$found" = sending ]; do
  [ "$found" != refused ] && [ $SECONDS -lt $deadline ] || fail "$(why_nothing_arrives "$found")"
  sleep 1
done
loaded=$(as_agent datadog-agent configcheck)
for check in $checks; do
  grep -q "^=== $check check ===" <<<"$loaded" || fail "the Agent has not loaded the check $check; configcheck says: $loaded"
done
# shellcheck disable=SC2086 # names, with blanks between
failed=$(unloadable $checks)
[ -z "$failed" ] || fail "the Agent can't load the check ${failed//$'\n'/, }"
version=$(as_agent datadog-agent version)
report "$(json_text "$version")"
