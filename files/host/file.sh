#!/usr/bin/env bash
# Puts standard input into a file, its owner and mode set before its content; on removal brings back what was there.
# Variables: path, owner (USER:GROUP), mode (octal).
set -eu
: "${path:?}" "${owner:?}" "${mode:?}"
directory=$(dirname "$path")
kept=/var/lib/watchpost/files$path
kept_directory=$(dirname "$kept")

case $1 in
apply)
  if [ ! -d "$kept" ]; then
    install -d -m 0700 /var/lib/watchpost/files
    mkdir -p "$kept_directory"
    before=$(mktemp -d "$kept.XXXXXX")
    # `cp -a` keeps owner, mode and times, so that the file that comes back is the same one.
    [ ! -e "$path" ] || cp -a "$path" "$before/original"
    [ -d "$directory" ] || touch "$kept_directory.made"
    mv -T "$before" "$kept"
  fi
  install -d "$directory"
  new=$(mktemp "$path.XXXXXX")
  trap 'rm -f "$new"' EXIT
  chown "$owner" "$new"
  chmod "$mode" "$new"
  cat >"$new"
  mv -T "$new" "$path"
  ;;
remove)
  [ -d "$kept" ] || exit 0
  if [ -e "$kept/original" ]; then
    cp -a "$kept/original" "$path.watchpost"
    mv -T "$path.watchpost" "$path"
  else
    rm -f "$path"
  fi
  rm -r "$kept"
  # A directory that was made for one file goes with the last one in it.
  if [ -e "$kept_directory.made" ] && rmdir "$directory" 2>/dev/null; then
    rm -f "$kept_directory.made"
  fi
  rmdir -p --ignore-fail-on-non-empty "$kept_directory" 2>/dev/null || true
  ;;
esac
