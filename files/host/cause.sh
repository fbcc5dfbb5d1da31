#!/usr/bin/env bash
# Part of other scripts: how a step runs what takes long, to its end and one at a time, and as whom; how it gives up,
# with one sentence that says why, even where a program's own words bury it; and how it is undone where the stack can't
# know of it.
set -eu
said=

# What steps keep while they run: root's alone, and gone with them.
running=/run/watchpost
at_end=()
ended=0
# The last first, since what was begun first is let go of last.
trap 'ended=$?; unexplained "${1:-}" "$BASH_COMMAND"; for ((each = ${#at_end[@]}; each--;)); do ${at_end[each]} || true; done' EXIT

# Ends a step in a sentence that stopped at a command of its own, which has only said why. A signal is no such case, and
# `exit` comes after a sentence.
unexplained() {
  [ "$ended" != 0 ] && [ "$ended" -lt 126 ] && [ "$1" != check ] && [[ $2 != exit* ]] || return 0
  echo "watchpost: $0 stopped on $(hostname) for the reason above: fix that there and try again" >&2
}

running_folder() {
  install -d -m 0700 "$running"
}

# Makes a temporary file, or folder (-d), in memory: the disk may be full.
in_memory() {
  local new words tries=0
  # Another step that ends may take the folder away at any time.
  until new=$(running_folder 2>&1 && mktemp "${@:2}" "$running/$1.XXXXXX" 2>&1) || [ $((++tries)) -gt 99 ]; do sleep 0.01; done
  [ "$tries" -gt 99 ] || { echo "$new" && return; }
  words=${new##*$'\n'}
  echo "watchpost: root can't write to $running on $(hostname), where steps keep their output: ${words##*: }; fix that and run \`pulumi up\` again" >&2
  return 1
}

# Waits for an earlier run of the step whose connection was lost: what it runs by `heard` is still at work, and `tee`
# holds on to the lock as long as somebody writes. Nobody else can open the lock's file. Waiting is told unless `quietly`.
# The last word ends a run whose own connection was lost while it waited: by now, the host may have to be otherwise.
alone() {
  local tries=0 writable
  lock=$running/${1//\//_}.lock
  while true; do
    # Another step may take the folder or the file away at any time, with the lock in its hand.
    if ! { running_folder && exec 9>>"$lock"; } 2>/dev/null; then
      [ $((++tries)) -gt 99 ] || { sleep 0.01 && continue; }
      writable=$(in_memory lock) || exit 1
      rm -f "$writable"
      give_up "root can't write to $lock on $(hostname): fix that and run \`pulumi up\` again"
    fi
    if ! flock --nonblock 9; then
      [ "${2:-}" = quietly ] || echo "waiting for an install that is still at work"
      flock --timeout "${lock_wait:-3600}" 9 ||
        give_up "an earlier run is still at work on $(hostname) and holds $lock: $(lock_holder "$lock")"
      [ "${2:-}" = quietly ] || echo "it has ended"
    fi
    [ ! "$lock" -ef /dev/fd/9 ] || break
  done
  at_end+=(let_go)
}

# Not where a program of the step's is still at work and holds the lock.
let_go() {
  exec 9<&-
  flock --nonblock "$lock" rm -f "$lock" 2>/dev/null || true
  rmdir --ignore-fail-on-non-empty "$running" 2>/dev/null || true
}

# Who holds a lock on a path: "process 12 (tee) of root". The process that took it may have left it to another one.
lock_holder() {
  local inode found holder
  inode=$(stat -c %i "$1")
  found=$(grep -lsE "^lock:.* FLOCK .*:$inode " /proc/[0-9]*/fdinfo/* | head -n 1)
  holder=${found#/proc/}
  holder=${holder%%/*}
  [ -n "$holder" ] || { echo "a process that has just ended" && return; }
  echo "process $holder ($(cat "/proc/$holder/comm" 2>/dev/null)) of $(stat -c %U "/proc/$holder" 2>/dev/null)"
}

# Runs a program, shown as it goes, and keeps what it says in $said. It comes to its end even where nobody listens any
# more (-p): dpkg goes on after a maintainer script's helper that a broken pipe has killed, as if it had done its work.
heard() {
  local log status
  log=$(in_memory log) || exit 1
  "$@" 2>&1 9<&- | tee -p "$log"
  status=${PIPESTATUS[0]}
  said=$(tail -c 20000 "$log")
  rm "$log"
  return "$status"
}

# Runs a program of somebody else's, for at most so many seconds. What it says comes by files: a process that it leaves
# behind could keep a pipe open for good, and the step waiting.
captured() {
  local answer status=0
  answer=$(in_memory answer -d) || exit 1
  (ulimit -f 65536 && exec timeout --kill-after=5 "$@") >"$answer/said" 2>"$answer/errors" 9<&- || status=$?
  cat "$answer/said"
  cat "$answer/errors" >&2
  rm -rf "$answer"
  return "$status"
}

# As a user that can do less than root; to the program it is as if it had been logged in.
as_user() {
  local user=$1 seconds=$2
  shift 2
  captured "$seconds" env -i PATH="$PATH" LC_ALL="${LC_ALL:-C.UTF-8}" HOME=/nonexistent \
    setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --inh-caps=-all --no-new-privs "$@"
}

# The Agent's programs, folders and configuration are its user's, who would be root if root ran them.
as_agent() {
  local seconds=${seconds:-120}
  if getent passwd dd-agent >/dev/null; then
    as_user dd-agent "$seconds" "$@" </dev/null
  else
    captured "$seconds" "$@" </dev/null
  fi
}

# The room on those paths, which a step writes to, and on whatever else is full, also of inodes: "0 on /tmp, 12M on /var".
room() {
  {
    {
      df -h --output=pcent,avail,target "$@" 2>/dev/null | sed 1d
      df -h --local --output=pcent,avail,target -x squashfs | awk '$1 + 0 >= 99'
    } | awk '{ print $2 " on " $3 }'
    df --local --output=ipcent,target -x squashfs | awk '$1 + 0 >= 99 { print "no inodes on " $2 }'
  } | sort -u | paste -sd , | sed 's/,/, /g'
}

# Prints who listens on a TCP port of 127.0.0.1, such as "nginx (process 812)"; nothing if nobody does.
port_holder() {
  ss -H -l -t -n -p "sport = :$1" 2>/dev/null |
    awk '$4 ~ /^(127\.0\.0\.1|0\.0\.0\.0|\*|\[::\]|\[::ffff:127\.0\.0\.1\])(%[^:]*)?:/' |
    sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1 (process \2)/p; q'
}

# Enables a service: systemd starts it at boot.
enable_service() {
  said=$(systemctl enable --quiet "$1" 2>&1) && return
  said=${said##*$'\n'}
  [[ $said != *masked* ]] || said+=" Run \`systemctl unmask $1\` there to let it start"
  give_up "$1 can't be enabled on $(hostname): $said"
}

# Whose process "12 (apt-get)" is, as " of root".
of_whom() {
  stat -c ' of %U' "/proc/${1%% *}" 2>/dev/null || true
}

# The cause that $said tells, else the words given first; the others are paths that the step writes to.
cause() {
  local sentence=$1 full='' place unresolved="(Could not resolve|Failed to resolve|failure resolving)( host:| proxy:)? '?([^'[:space:]]+)"
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
  elif [[ $said == *'Read-only file system'* ]]; then
    place=$(grep -m 1 'Read-only file system' <<<"$said" | grep -oE "/[^ :'\"]+" | head -n 1)
    sentence="${place:-a file system} on $(hostname) can't be written (Read-only file system): mount it read-write and run \`pulumi up\` again"
  elif [[ $said == *'certificate is not yet valid'* || $said == *'certificate has expired'* ]]; then
    sentence="$sentence: $(grep -m 1 -oE 'certificate (is not yet valid|has expired)' <<<"$said"). Is the clock of $(hostname) right? It says $(date -u '+%F %R UTC')"
  elif [[ $said =~ $unresolved ]]; then
    sentence="$(hostname) can't resolve ${BASH_REMATCH[3]}: check its DNS (/etc/resolv.conf) and run \`pulumi up\` again"
  elif [[ $said == *'name resolution'* || $said == *'Name or service not known'* ]]; then
    sentence="$(hostname) can't resolve names: check its DNS (/etc/resolv.conf) and run \`pulumi up\` again"
  elif [[ $said =~ $held ]]; then
    sentence="process ${BASH_REMATCH[3]}$(of_whom "${BASH_REMATCH[3]}") on $(hostname) holds ${BASH_REMATCH[2]}: let it end and run \`pulumi up\` again"
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

# Puts standard input into a file of root's own: after a power cut it is there whole, as it is now or as it was before.
# A file system with a journal keeps the order of what happens to its folders; what a file holds has to be waited for.
write_whole() {
  cat >"$1.new" && sync "$1.new" && mv -T "$1.new" "$1" && sync "$(dirname "$1")"
}

# Takes a folder away whole, as far as anybody sees after a power cut.
drop_folder() {
  rm -rf "$1.gone"
  [ -e "$1" ] || return 0
  mv -T "$1" "$1.gone"
  rm -rf "$1.gone"
}

# How a step is undone is kept on the host until that is done. A stack whose run was killed, or whose step failed, may not
# know of the step; host/ready.sh, which comes last, then undoes what is left here, if it is of the same stack.
undo_folder=/var/lib/watchpost/undo

# Keeps the step under a name of its own, with its variables; none of them is a secret.
keep_undo() {
  local name=$1 new=$undo_folder/$1.new
  shift
  # A script that is run by hand, from a file, is undone by hand.
  [ -n "${BASH_EXECUTION_STRING:-}" ] || return 0
  install -d -m 0755 /var/lib/watchpost
  install -d -m 0700 "$undo_folder"
  {
    printf '# of %s\n' "${claimant:-}"
    declare -p "$@" && printf '%s\n' "$BASH_EXECUTION_STRING" '# complete'
  } >"$new"
  if cmp --quiet "$new" "$undo_folder/$name"; then
    rm "$new"
    return
  fi
  # What was done first is undone last, also when it was done again.
  [ ! -e "$undo_folder/$name" ] || touch -r "$undo_folder/$name" "$new"
  sync "$new"
  mv -T "$new" "$undo_folder/$name"
  sync "$undo_folder"
}

# Whether a run that was cut off has done something since, which is undone first: by ready.sh, last of all.
is_undone_later() {
  local newest
  newest=$(find "$undo_folder" -type f ! -name '*.new' -printf '%T@ %f\n' 2>/dev/null | sort -rn | sed -n '1s/.* //p')
  [ -z "${undoing_all:-}" ] && [ -n "$newest" ] && [ "$newest" != "$1" ]
}

undone() {
  rm -f "$undo_folder/$1" "$undo_folder/$1.new"
  rmdir --ignore-fail-on-non-empty "$undo_folder" /var/lib/watchpost 2>/dev/null || true
}
