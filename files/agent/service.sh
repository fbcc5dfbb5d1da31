#!/usr/bin/env bash
# Restarts the Agent, waits until it is healthy and shows that it has loaded its checks.
# Variables: checks (names with blanks between). Standard input: fingerprints of the files that the Agent reads; it is
# there so that the step runs when one of them has changed.
# Source: https://docs.datadoghq.com/agent/configuration/agent-commands/
set -eu
: "${checks:?}"
[ "$1" != remove ] || exit 0
# shellcheck source=/dev/null
. files/host/cause.sh

fail() {
  journalctl --unit datadog-agent --lines 20 --no-pager >&2 || true
  give_up "$*"
}

if [ "$1" = check ]; then
  state=$(systemctl is-enabled datadog-agent || true),$(systemctl is-active datadog-agent || true)
  [ "$state" = enabled,active ] || { echo "the Agent's service is $state" >&2 && exit 1; }
  datadog-agent health >/dev/null || { echo "the Agent is not healthy" >&2 && exit 1; }
  exit 0
fi
systemctl enable --quiet datadog-agent
systemctl reset-failed datadog-agent 2>/dev/null || true
systemctl restart datadog-agent || fail "the Agent's service does not start"
deadline=$((SECONDS + 120))
until datadog-agent health >/dev/null 2>&1; do
  [ $SECONDS -lt $deadline ] || fail "the Agent is not healthy after two minutes: $(datadog-agent health 2>&1 | tail -n 5)"
  sleep 1
done
loaded=$(datadog-agent configcheck)
for check in $checks; do
  grep -q "^=== $check check ===" <<<"$loaded" || fail "the Agent has not loaded the check $check; configcheck says: $loaded"
done
datadog-agent version
