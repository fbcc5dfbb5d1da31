#!/usr/bin/env bash
# Part of other scripts: how a step gives up, with one sentence that says why, even where a program's own words bury it.
set -eu
said=

# Runs a program, shown as it goes, and keeps what it says in $said.
heard() {
  # In memory, since the disk may be full.
  local log=/run/watchpost-${0##*/}.log status
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  said=$(tail -c 20000 "$log")
  rm "$log"
  return "$status"
}

# Ends the step with the cause that $said tells, else with the words given first; the others are paths it writes to.
give_up() {
  local sentence=$1 free unresolved="(Could not resolve|Failed to resolve|failure resolving)( host:| proxy:)? '?([^'[:space:]]+)"
  shift
  # On a machine that is going down, services stop before this step does. It is run again when its connection has ended.
  [ "$(systemctl is-system-running 2>/dev/null)" != stopping ] || sleep 60
  if [[ $said =~ [Nn]o\ space\ left|enough\ free\ space|curl:\ \(23\) ]]; then
    # Where it writes to, and whatever else is full.
    free=$({
      df -h --output=pcent,avail,target "$@" 2>/dev/null | sed 1d
      df -h --output=pcent,avail,target -x squashfs | awk '$1 + 0 >= 99'
    } | awk '{ print $2 " on " $3 }' | sort -u | paste -sd ,)
    sentence="no space left on $(hostname): make room there and run \`pulumi up\` again (free: ${free//,/, })"
  elif [[ $said =~ $unresolved ]]; then
    sentence="$(hostname) can't resolve ${BASH_REMATCH[3]}: check its DNS (/etc/resolv.conf) and run \`pulumi up\` again"
  elif [[ $said == *'name resolution'* || $said == *'Name or service not known'* ]]; then
    sentence="$(hostname) can't resolve names: check its DNS (/etc/resolv.conf) and run \`pulumi up\` again"
  fi
  echo "watchpost: $sentence" >&2
  exit 1
}
