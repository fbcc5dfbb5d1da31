#!/usr/bin/env bash
# Installs Debian packages in one go, and on removal takes away those that were not there before.
# Variables: packages (as in a Depends field: "a, b | c" means a, and b or else c),
#   directories, users (what those packages make and leave behind, with blanks between),
#   lock_wait (seconds to wait for another apt, default 600).
set -eu
: "${packages?}" "${directories:=}" "${users:=}"
places=(/var/cache/apt/archives /var/lib/apt/lists /var/lib/dpkg /usr /var /tmp)
options=(-q -y -o "DPkg::Lock::Timeout=${lock_wait:=600}" -o Dpkg::Use-Pty=0)
kept=/var/lib/watchpost/packages
# shellcheck source=/dev/null
. files/host/cause.sh
# shellcheck source=/dev/null
. files/host/dpkg.sh
export DEBIAN_FRONTEND=noninteractive

installed() {
  dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed //p' | LC_ALL=C sort
}

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

is_offered() {
  LC_ALL=C apt-cache policy "$1" | grep -q 'Candidate: [^(]'
}

remember_before() {
  install -d -m 0755 "$kept.new"
  for directory in $directories; do
    [ ! -e "$directory" ] || echo "$directory"
  done >"$kept.new/directories"
  for user in $users; do
    getent passwd "$user" | cut -d : -f 1
  done >"$kept.new/users"
  installed >"$kept.new/before"
  mv -T "$kept.new" "$kept"
}

# The first alternative that is there, else the first that apt offers.
choose() {
  for alternative in "$@"; do ! is_installed "$alternative" || return 0; done
  for alternative in "$@"; do
    if is_offered "$alternative"; then
      missing+=("$alternative")
      return 0
    fi
  done
  # For apt, an update that reached nobody is no failure.
  give_up "apt on $(hostname) offers none of: $*" "${places[@]}"
}

# Before anything is looked at: what is kept is that run's, too.
[ "$1" = check ] || alone /var/lib/dpkg

case $1 in
check)
  IFS=, read -ra wanted <<<"$packages"
  for alternatives in "${wanted[@]}"; do
    IFS=' |' read -ra names <<<"$alternatives"
    found=
    for name in "${names[@]}"; do ! is_installed "$name" || found=$name; done
    [ -n "$found" ] || { echo "none of these packages is installed: ${names[*]}" >&2 && exit 1; }
  done
  ;;
apply)
  [ -e "$kept" ] || remember_before
  repair_packages "${places[@]}"
  missing=()
  IFS=, read -ra wanted <<<"$packages"
  for alternatives in "${wanted[@]}"; do
    IFS=' |' read -ra names <<<"$alternatives"
    is_installed "${names[0]}" || missing+=("${names[0]}")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    heard apt-get "${options[@]}" update || give_up "apt on $(hostname) can't read its sources" "${places[@]}"
    missing=()
    for alternatives in "${wanted[@]}"; do
      IFS=' |' read -ra names <<<"$alternatives"
      choose "${names[@]}"
    done
    heard apt-get "${options[@]}" install --no-install-recommends "${missing[@]}" ||
      give_up "apt on $(hostname) can't install ${missing[*]}" "${places[@]}"
  fi
  installed | LC_ALL=C comm -13 "$kept/before" - >"$kept/ours.new"
  mv "$kept/ours.new" "$kept/ours"
  ;;
remove)
  [ -e "$kept" ] || exit 0
  [ -e "$kept/ours" ] || installed | LC_ALL=C comm -13 "$kept/before" - >"$kept/ours"
  mapfile -t ours <"$kept/ours"
  repair_packages "${places[@]}"
  [ ${#ours[@]} = 0 ] || heard apt-get "${options[@]}" purge "${ours[@]}"
  for directory in $directories; do
    grep -qxF "$directory" "$kept/directories" || rm -rf "$directory"
  done
  for user in $users; do
    grep -qxF "$user" "$kept/users" || ! getent passwd "$user" >/dev/null || userdel "$user"
  done
  rm -r "$kept"
  rmdir --ignore-fail-on-non-empty /var/lib/watchpost
  ;;
esac
