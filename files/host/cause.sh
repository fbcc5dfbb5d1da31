#!/usr/bin/env bash
# Part of other scripts: how a step runs what takes long, to its end and one at a time, and how it gives up, with one
# sentence that says why, even where a program's own words bury it.
set -eu
said=

# Waits for an earlier run of the step whose connection was lost: what it runs by `heard` is still at work. The lock is
# on a directory that is there anyway, and `tee` holds on to it as long as somebody writes.
# The last word ends a run whose own connection was lost while it waited: by now, the host may have to be otherwise.
alone() {
  exec 9<"$1"
  flock --nonblock 9 || { echo "waiting for an install that is still at work" && flock 9 && echo "it has ended"; }
}

# Runs a program, shown as it goes, and keeps what it says in $said. It comes to its end even where nobody listens any
# more (-p): dpkg goes on after a maintainer script's helper that a broken pipe has killed, as if it had done its work.
heard() {
  # In memory, since the disk may be full.
  local log=/run/watchpost-${0##*/}.log status
  "$@" 2>&1 9<&- | tee -p "$log"
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
