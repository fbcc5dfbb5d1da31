#!/usr/bin/env bash
# Runs one check as dd-agent, which sends nothing, and reports the last value that it submitted of one metric.
# Variables: check, metric, twice (yes for a rate, which needs two runs). Standard input: fingerprints, as service.sh.
# Source: https://docs.datadoghq.com/extend/custom_checks/write_agent_check/#verify-your-check
set -eu
: "${check:?}" "${metric:?}" "${twice:?}"
[ "$1" != remove ] || exit 0
use files/host/cause.sh

# Why a check can go without a metric, and say nothing: what it watches is a process that the Agent can't see.
# Source: https://docs.kernel.org/filesystems/proc.html#mount-options
unseen() {
  if as_agent test -r /proc/1/stat; then
    echo "it gives no error, see \`datadog-agent check $check\` on $(hostname)"
  else
    echo "/proc on $(hostname) hides the processes of others from the Agent: run \`sudo mount -o remount,gid=\$(id -g dd-agent) /proc\` there, and have /etc/fstab say so too"
  fi
}

# After a reboot, what the check watches may still be starting.
timeout 300 systemctl is-system-running --wait >/dev/null 2>&1 || true
options=(--json)
[ "$twice" = no ] || options+=(--check-rate)
output=$(seconds=600 as_agent datadog-agent check "$check" "${options[@]}" 2>&1) ||
  give_up "'datadog-agent check $check' failed: ${output##*$'\n'}"
# An exception in the check doesn't fail the command: the error is in its output, after its log lines. Prints the sample,
# or else why there is none, if the check has said that.
sample=$(python3 -c '
import json, re, sys

check, metric = sys.argv[1:]
printed = sys.stdin.read()


def said_by(error):
    # A check in Python gives a list of messages, each with its traceback.
    try:
        return "; ".join(each["message"] for each in json.loads(error))
    except (ValueError, TypeError, KeyError):
        return error


begin = re.search(r"^\[$|^\[\s*[{\]]", printed, re.MULTILINE)
try:
    runs, _ = json.JSONDecoder().raw_decode(printed, begin.start())
except (AttributeError, ValueError):
    print(f"it printed no result: {printed[-500:]}")
    sys.exit(1)
errors = [said_by(run["runner"]["LastError"]) for run in runs if run["runner"].get("LastError")]
# Of several instances, which a file that was there before may have, ours comes first; others may fail.
good = [run["aggregator"].get("metrics") or [] for run in runs if not run["runner"].get("LastError")]
found = next(filter(None, ([m for m in metrics if m["metric"] == metric] for metrics in good)), None)
if not found:
    print(*errors, sep="; ")
    sys.exit(1)
if errors:
    print(f"another instance of the check {check} fails: {errors[0]}", file=sys.stderr)
interval = (runs[-1]["runner"].get("Interval") or 0) / 1e9
print(json.dumps({"value": found[-1]["points"][-1][1], "tags": found[-1]["tags"], "interval_s": interval}))
' "$check" "$metric" <<<"$output") ||
  give_up "the check $check did not submit $metric: ${sample:-$(unseen)}"
report "$sample"
