#!/usr/bin/env bash
# Puts standard input into a file, its owner and mode set before its content; on removal brings back what was there.
# Variables: path, owner (USER:GROUP), mode (octal).
set -eu
: "${path:?}" "${owner:?}" "${mode:?}"
directory=$(dirname "$path")
new=$path.watchpost
kept=/var/lib/watchpost/files$path
kept_directory=$(dirname "$kept")
made=$kept_directory.made
# shellcheck source=/dev/null
. files/host/cause.sh
# One at a time: files of one directory are removed at once, and the last has to know that it is.
exec 9</var/lib
flock 9

there() {
  [ -e "$1" ] || [ -L "$1" ]
}

# The directories that do not exist yet, the innermost first.
missing_directories() {
  local missing=$directory
  while [ ! -d "$missing" ]; do
    echo "$missing"
    missing=$(dirname "$missing")
  done
}

remember() {
  install -d -m 0700 /var/lib/watchpost/files
  mkdir -p "$kept_directory"
  rm -rf "$kept.new"
  mkdir "$kept.new"
  # `cp -a` keeps owner, mode and times, so that what comes back is the same file.
  ! there "$path" || cp -a "$path" "$kept.new/original"
  [ -d "$directory" ] || missing_directories >"$made"
  mv -T "$kept.new" "$kept"
}

# By its owner and mode first, then its content.
write() {
  install -d "$directory" && install -m 0600 /dev/null "$new" && chown "$owner" "$new" && chmod "$mode" "$new" &&
    cat >"$new"
}

case $1 in
check)
  [ -f "$path" ] || { echo "$path is not there" >&2 && exit 1; }
  cmp --quiet - "$path" || { echo "$path has another content" >&2 && exit 1; }
  found=$(stat -c '%U:%G %a' "$path")
  [ "$found" = "$owner ${mode#0}" ] || { echo "$path is $found instead of $owner ${mode#0}" >&2 && exit 1; }
  ;;
apply)
  keep_undo "file${path//\//_}" path owner mode
  [ -d "$kept" ] || remember
  # One name for all times, so that what a killed run leaves is taken by the next.
  trap 'rm -f "$new"' EXIT
  said=$(write 2>&1) || give_up "$path can't be written: $said" "$directory" "$(dirname "$directory")"
  mv -T "$new" "$path"
  ;;
remove)
  rm -rf "$new" "$kept.new"
  [ -d "$kept" ] || { undone "file${path//\//_}" && exit 0; }
  if there "$kept/original"; then
    cp -a "$kept/original" "$new"
    mv -T "$new" "$path"
  else
    rm -f "$path"
  fi
  rm -r "$kept"
  # Directories that were made for files of ours go with the last of them, unless others use them.
  if [ -e "$made" ] && rmdir "$kept_directory" 2>/dev/null; then
    while read -r empty && rmdir "$empty" 2>/dev/null; do :; done <"$made"
    rm "$made"
  fi
  rmdir -p --ignore-fail-on-non-empty "$kept_directory" "$(dirname "$kept_directory")" 2>/dev/null || true
  undone "file${path//\//_}"
  ;;
esac
