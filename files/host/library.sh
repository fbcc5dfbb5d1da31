#!/usr/bin/env bash
# Keeps the files that scripts share on the machine, so that a stack's state has each of them once. A file's name changes
# with its content: steps of an earlier version find theirs until the stack is destroyed, when ready.sh removes them all.
# Standard input: each file after a line with its name and its length in characters.
set -eu
library=/var/lib/watchpost/library

# Whether the file on the machine is the one in $text.
is_there() {
  [ "$(cat "$library/$name" 2>/dev/null && echo .)" = "$text." ]
}

keep() {
  printf %s "$text" >"$library/$name.new" && sync "$library/$name.new" && mv -T "$library/$name.new" "$library/$name"
}

tried() {
  said=$("$@" 2>&1) && return
  echo "watchpost: root can't write to $library on $(hostname): ${said##*[0-9]: }; fix that and run \`pulumi up\` again" >&2
  exit 1
}

[ "$1" != apply ] || tried install -d -m 0755 "$library"
while read -r name length; do
  IFS= read -r -N "$length" text
  if [ "$1" = check ]; then
    is_there || { echo "$library/$name is gone or isn't as it was" >&2 && exit 1; }
  elif [ "$1" = apply ] && ! is_there; then
    tried keep
  fi
done
[ "$1" != apply ] || sync "$library" "$(dirname "$library")"
