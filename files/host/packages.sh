#!/usr/bin/env bash
# Installs Debian packages in one go, and on removal takes away those that it brought: not what was there before, what
# somebody has marked as manually installed since, or what somebody's packages or databases need.
# Variables: packages (as in a Depends field: "a, b | c" means a, and b or else c),
#   directories, users (what those packages make and leave behind, with blanks between),
#   databases (the data directory of a database server among those packages, with a directory for each database;
#     default none), port (where that server listens, default 3306),
#   lock_wait (seconds to wait for another apt, default 600).
# shellcheck disable=SC2154 # undo_folder and said are cause.sh's
set -eu
: "${packages?}" "${directories:=}" "${users:=}" "${databases:=}" "${port:=3306}" "${lock_wait:=600}"
places=(/var/cache/apt/archives /var/lib/apt/lists /var/lib/dpkg /usr /var /tmp)
kept=/var/lib/watchpost/packages
note=$kept/ours
# While the packages are ours, they aren't marked as manually installed: so it is seen when somebody else does that.
unmarked=/etc/apt/apt.conf.d/90watchpost
info=/var/lib/dpkg/info
use files/host/cause.sh
use files/host/dpkg.sh

# Whether a package is installed, or another one that provides it.
is_installed() {
  [ "$(package_state "$1")" = installed ] || dpkg-query -W -f '${db:Status-Status}, ${Provides}\n' | awk -F ', *' -v name="$1" '
    $1 == "installed" { for (i = 2; i <= NF; i++) { sub(/[ :(].*/, "", $i); if ($i == name) found = 1 } }
    END { exit !found }'
}

any_is_installed() {
  local name
  for name in "$@"; do ! is_installed "$name" || return 0; done
  return 1
}

is_offered() {
  apt-cache policy "$1" | grep -q 'Candidate: [^(]'
}

# Whether apt has installed these, and failed only on others' packages, which it tries to configure each time.
all_are_there() {
  local name
  for name in "$@"; do is_installed "$name" || return 1; done
  echo "apt on $(hostname) has installed everything it was asked to, but failed on other packages$(complaint)"
}

# The first alternative that is there, else the first that apt offers.
choose() {
  ! any_is_installed "$@" || return 0
  for alternative in "$@"; do
    if is_offered "$alternative"; then
      missing+=("$alternative")
      return 0
    fi
  done
  # For apt, an update that reached nobody is no failure.
  give_up "apt on $(hostname) offers none of: $*$unread" "${places[@]}"
}

# Whether directories and users are there just before the packages that make them are installed. What packages of ours
# have made by then stays what it is.
note_absent() {
  local made state
  made=$(made_by_ours)
  for directory in $directories; do
    ! grep -qxF "directory $directory" <<<"$made" || continue
    state=present
    [ -e "$directory" ] || [ -L "$directory" ] || state=absent
    echo "$state directory $directory"
  done
  for user in $users; do
    ! grep -qxF "user $user" <<<"$made" || continue
    state=present
    getent passwd "$user" >/dev/null || state=absent
    echo "$state user $user"
  done
}

# While nothing of ours is marked as manually installed, it isn't for `apt autoremove` to take.
keep_from_autoremove() {
  local name named=" ${packages//[,|]/ } " wanted=()
  while read -r _ name _; do
    [[ "$named" != *" ${name%%:*} "* ]] || wanted+=("$name")
  done < <(ours)
  if [ ${#wanted[@]} = 0 ]; then
    rm -f "$unmarked"
    return
  fi
  {
    echo "// Made by Watchpost: packages that it brought, and that autoremove leaves until \`pulumi destroy\`."
    for name in "${wanted[@]}"; do
      name=${name%%:*}
      echo "APT::NeverAutoRemove:: \"^${name//[.+]/.}\$\";"
    done
  } >"$unmarked.new"
  if cmp --quiet "$unmarked.new" "$unmarked"; then
    rm "$unmarked.new"
    return
  fi
  sync "$unmarked.new"
  mv "$unmarked.new" "$unmarked"
}

# What an older version of this program left is no list of what it brought: it held whatever was installed meanwhile.
# Of that, apt's own log tells what it was.
read_old_note() {
  [ -e "$kept/before" ] || return 0
  local name brought day
  brought=$(installed_by "-q -y -o DPkg::Lock::Timeout=$lock_wait -o Dpkg::Use-Pty=0 install --no-install-recommends" | sed 's/:.*//')
  day=$(($(stat -c %Y "$kept/before") / 86400))
  if ! facts | grep -qx begun; then
    {
      echo begun
      while read -r name; do
        ! grep -qxF "${name%%:*}" <<<"$brought" || echo "installing $name purge"
      done < <(grep -vxF -f "$kept/before" "$note" 2>/dev/null || installed_since "$kept/before")
      for directory in $directories; do
        [ ! -d "$directory" ] || [ "$(stat -c %W "$directory")" -lt "$(stat -c %Y "$kept/before")" ] ||
          echo "absent directory $directory"
      done
      for user in $users; do
        [ "$(getent shadow "$user" | cut -d : -f 3)" -lt "$day" ] 2>/dev/null || echo "absent user $user"
      done
    } | sed 's/$/ ./' | write_whole "$note"
  fi
  rm "$kept/before"
  echo "by apt's log, earlier runs installed on $(hostname): $(ours | cut -d ' ' -f 2 | paste -sd ' ')"
}

installed_since() {
  dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | grep -vxF -f "$1"
}

# Which packages speak of a directory or user, in dpkg's files about them, given after it. A comment says nothing: that
# of libssl1.1 and libssl3 names mysql, a service that they may restart.
told_of() {
  local what=$1 before='([^#[:space:][:alnum:]_./-]|[^#[:space:]].*[^[:alnum:]_./-])?'
  shift
  grep -lsE -- "^[[:space:]]*$before$what(/|\$|[^[:alnum:]_.-])" "$@" |
    sed -E 's|.*/([^/]+)\.[a-z]+$|\1|' | sort -u | paste -sd ' '
}

# The directories and users that weren't there before packages of ours made them.
made_by_ours() {
  local kind what name files=()
  while read -r _ name _; do files+=("$info/$name".{list,preinst,postinst,postrm}); done < <(ours)
  [ ${#files[@]} -gt 0 ] || return 0
  while read -r _ kind what; do
    [ -z "$(told_of "$what" "${files[@]}")" ] || echo "$kind $what"
  done < <(facts | awk '$1 == "absent" || $1 == "present" { last[$2 " " $3] = $0 }
    END { for (what in last) if (last[what] ~ /^absent/) print last[what] }' | sort)
}

remove_made() {
  local kind what others
  while read -r kind what; do
    others=$(told_of "$what" "$info"/*.{list,preinst,postinst,postrm})
    if [ -n "$others" ]; then
      echo "keeping the $kind $what, since installed packages use it: $others"
    elif [ "$kind" = directory ]; then
      rm -rf "$what"
    elif getent passwd "$what" >/dev/null; then
      # What the packages' scripts left there under that user, as MySQL's of Ubuntu 22.04 do.
      find /tmp /var/tmp -xdev -mindepth 1 -maxdepth 1 -user "$what" -exec rm -rf -- {} +
      heard userdel "$what" || give_up "the user $what can't be removed on $(hostname): $said"
    fi
  done
}

# A new database server that can't listen fails to install, and it would not be the one that somebody else runs.
look_at_the_port() {
  local holder=
  [ -z "$databases" ] || [ -e "$databases" ] || holder=$(port_holder "$port")
  [ -z "$holder" ] ||
    give_up "port $port on $(hostname), which the database needs that would be installed, is taken by $holder: stop that program; if it is a database, such as one in a container, Watchpost can't watch it"
}

# Keeps a database server of ours that holds others' data: from now on it counts as installed by hand.
leave_used_server() {
  local name found
  # Each server makes some databases itself; one without tables holds nothing.
  found=$(find "${databases:-/dev/null}" -mindepth 2 -type f ! -name db.opt -printf '%P\n' 2>/dev/null |
    sed 's|/.*||' | sort -u | grep -vxE 'mysql|performance_schema|sys|[#.].*|lost\+found' | paste -sd ' ')
  [ -n "$found" ] || return 0
  while read -r _ name _; do
    [ -n "$(told_of "$databases" "$info/$name".{list,preinst,postinst,postrm})" ] || continue
    echo "$name holds others' databases: $found"
    apt-mark manual "$name" >/dev/null
    sync /var/lib/apt/extended_states
  done < <(ours)
}

# Before anything is looked at: what is kept is that run's, too.
[ "$1" = check ] || alone packages

case $1 in
check)
  IFS=, read -ra wanted <<<"$packages"
  for alternatives in "${wanted[@]}"; do
    IFS=' |' read -ra names <<<"$alternatives"
    any_is_installed "${names[@]}" || { echo "none of these packages is installed: ${names[*]}" >&2 && exit 1; }
  done
  ;;
apply)
  safely keep_undo packages packages directories users databases lock_wait
  read_old_note
  safely begin_note
  own_apt
  repair_packages "${places[@]}"
  keep_from_autoremove
  settle unmark
  missing=()
  IFS=, read -ra wanted <<<"$packages"
  for alternatives in "${wanted[@]}"; do
    IFS=' |' read -ra names <<<"$alternatives"
    any_is_installed "${names[@]}" || missing+=("${names[0]}")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    take_over_lists
    # Others' sources may be broken; the rest may have what is needed.
    unread=
    heard apt-get -q -y update || unread=$(complaint)
    [ -z "$unread" ] || echo "apt on $(hostname) can't read all of its sources$unread"
    missing=()
    for alternatives in "${wanted[@]}"; do
      IFS=' |' read -ra names <<<"$alternatives"
      choose "${names[@]}"
    done
    [ ${#missing[@]} = 0 ] || look_at_the_port
    safely add_facts < <(note_absent)
    if [ ${#missing[@]} -gt 0 ]; then
      heard apt-get -q -y install --no-remove --no-install-recommends "${missing[@]}" && status=0 || status=1
      keep_from_autoremove
      settle unmark
      [ "$status" = 0 ] || all_are_there "${missing[@]}" || give_up "apt on $(hostname) can't install ${missing[*]}$(complaint)" "${places[@]}"
    fi
  fi
  keep_from_autoremove
  ;;
remove)
  if is_undone_later packages; then
    echo "keeping the packages until what a run that was cut off did after them is undone"
    exit
  fi
  if [ -e "$kept" ]; then
    read_old_note
    if note_is_broken; then
      echo "what $(hostname) holds of what this step brought can't be read in full ($note)"
      IFS=', |' read -ra names <<<"$packages"
      for name in "${names[@]}"; do
        [ -z "$name" ] || ! is_installed "$name" || ours | grep -q " $name " || echo "keeping $name, of which it isn't known who installed it"
      done
    fi
    rm -f "$unmarked" "$unmarked.new"
    own_apt no-sources
    repair_packages "${places[@]}"
    # Nobody has marked these since, but apt itself has.
    settle unmark
    leave_used_server
    # Once the packages are gone, nothing else tells.
    made=$({ made_by_ours && facts | sed -n 's/^made //p'; } | sort -u)
    [ -z "$made" ] || echo "made ${made//$'\n'/$'\n'made }" | add_facts
    remove_ours marks "${places[@]}"
    [ -z "$made" ] || remove_made <<<"$made"
    # What an apt that was killed since the machine was claimed has left, where none is at work.
    grep -qsxE 'apt|apt-get|aptitude|dpkg|unattended-upgr' /proc/[0-9]*/comm || {
      find /tmp -maxdepth 1 -user root -type d -name 'apt-dpkg-install-??????' -newer "${claim:?}" -exec rm -rf {} +
      rm -rf /var/lib/dpkg/tmp.ci
    }
    drop_folder "$kept"
  elif [ -e "$undo_folder/packages" ]; then
    echo "keeping all packages on $(hostname): of which this step brought isn't known any more ($kept is gone)"
  fi
  rm -rf "$kept.gone"
  undone packages
  drop_own_apt
  rmdir --ignore-fail-on-non-empty /var/lib/watchpost 2>/dev/null || true
  ;;
esac
