#!/usr/bin/env bash
# Part of other scripts: how a step runs what takes long, to its end and one at a time; how it gives up, with one
# sentence that says why, even where a program's own words bury it; and how it is undone where the stack can't know of it.
set -eu
said=

# Waits for an earlier run of the step whose connection was lost: what it runs by `heard` is still at work. The lock is
# on a file or directory that is there anyway, and `tee` holds on to it as long as somebody writes.
# The last word ends a run whose own connection was lost while it waited: by now, the host may have to be otherwise.
alone() {
  exec 9<"$1"
  flock --nonblock 9 && return
  echo "waiting for an install that is still at work"
  flock --timeout "${lock_wait:-3600}" 9 ||
    give_up "$(hostname) is still at work on an earlier run, or somebody holds the lock on $1: process $(lock_holder "$1")"
  echo "it has ended"
}

# Who holds a lock on a path, by number and program.
lock_holder() {
  local holder inode
  inode=$(stat -c %i "$1")
  holder=$(awk -v inode=":$inode" '$2 == "FLOCK" && substr($6, length($6) - length(inode) + 1) == inode { print $5; exit }' /proc/locks)
  echo "$holder ($(cat "/proc/$holder/comm" 2>/dev/null || echo unknown))"
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

# The room on those paths, which a step writes to, and on whatever else is full: "0 on /tmp, 12M on /var".
room() {
  {
    df -h --output=pcent,avail,target "$@" 2>/dev/null | sed 1d
    df -h --output=pcent,avail,target -x squashfs | awk '$1 + 0 >= 99'
  } | awk '{ print $2 " on " $3 }' | sort -u | paste -sd , | sed 's/,/, /g'
}

# The cause that $said tells, else the words given first; the others are paths that the step writes to.
cause() {
  local sentence=$1 full='' unresolved="(Could not resolve|Failed to resolve|failure resolving)( host:| proxy:)? '?([^'[:space:]]+)"
  local held='(Could not get|Unable to acquire).* lock ([^ ]+).* held by process ([0-9]+ \([^)]*\))'
  local unwritable="(Failed to open the file|Failed to create the file) ([^:]+): ([^\n]+)"
  shift
  if [[ $said =~ [Nn]o\ space\ left|enough\ free\ space ]]; then
    full=yes
  elif [[ $said == *'curl: (23)'* ]]; then
    # It can't write: where there is room, for another reason.
    if [[ $said =~ $unwritable ]]; then
      sentence="${BASH_REMATCH[2]} on $(hostname) can't be written (${BASH_REMATCH[3]}): remove it there if nobody needs it, and run \`pulumi up\` again"
    elif df --output=avail "$@" / /tmp 2>/dev/null | grep -q '^ *0$'; then
      full=yes
    fi
  elif [[ $said =~ $unresolved ]]; then
    sentence="$(hostname) can't resolve ${BASH_REMATCH[3]}: check its DNS (/etc/resolv.conf) and run \`pulumi up\` again"
  elif [[ $said == *'name resolution'* || $said == *'Name or service not known'* ]]; then
    sentence="$(hostname) can't resolve names: check its DNS (/etc/resolv.conf) and run \`pulumi up\` again"
  elif [[ $said =~ $held ]]; then
    sentence="process ${BASH_REMATCH[3]} on $(hostname) holds ${BASH_REMATCH[2]}: let it end and run \`pulumi up\` again"
  fi
  [ -z "$full" ] ||
    sentence="no space left on $(hostname): make room there and run \`pulumi up\` again (free: $(room "$@"))"
  echo "watchpost: $sentence"
}

# Ends the step with the cause that $said tells, else with the words given first; the others are paths it writes to.
give_up() {
  # On a machine that is going down, services stop before this step does. It is run again when its connection has ended.
  [ "$(systemctl is-system-running 2>/dev/null)" != stopping ] || sleep 60
  cause "$@" >&2
  exit 1
}

# How a step is undone is kept on the host until that is done. A stack whose run was killed, or whose step failed, may not
# know of the step; host/ready.sh, which comes last, then undoes what is left here.
undo_folder=/var/lib/watchpost/undo

# Keeps the step under a name of its own, with its variables; none of them is a secret.
keep_undo() {
  local name=$1 new=$undo_folder/$1.new
  shift
  # A script that is run by hand, from a file, is undone by hand.
  [ -n "${BASH_EXECUTION_STRING:-}" ] || return 0
  install -d -m 0755 /var/lib/watchpost
  install -d -m 0700 "$undo_folder"
  { declare -p "$@" && printf '%s\n' "$BASH_EXECUTION_STRING"; } >"$new"
  # What was done first is undone last, also when it was done again.
  [ ! -e "$undo_folder/$name" ] || touch -r "$undo_folder/$name" "$new"
  sync "$new"
  mv -T "$new" "$undo_folder/$name"
  sync "$undo_folder"
}

undone() {
  rm -f "$undo_folder/$1" "$undo_folder/$1.new"
  rmdir --ignore-fail-on-non-empty "$undo_folder" /var/lib/watchpost 2>/dev/null || true
}
