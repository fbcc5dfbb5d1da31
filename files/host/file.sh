#!/usr/bin/env bash
# Puts standard input into a file, its owner and mode set before its content; on removal brings back what was there.
# Variables: path, owner (USER:GROUP), mode (octal); python: of a YAML file, the Python that merges standard input into
# what was there before.
set -eu
: "${python:=}"
: "${path:?}" "${owner:?}" "${mode:?}"
directory=$(dirname "$path")
new=$path.watchpost
verb=$1
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

# What belongs into the file. In a merged one, everything that standard input doesn't name stays as it was, comments
# too; what it names is behind it.
content() {
  if [ -z "$python" ] || [ ! -s "$kept/original" ]; then
    cat
    return
  fi
  "$python" /dev/fd/3 "$kept/original" "$path" "$verb" 3<<'PYTHON'
import re, sys, yaml


class Dumper(yaml.SafeDumper):
    pass


def text(dumper, value):
    # Go takes more for a number than this, such as 1e3.
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if value[:1].isdigit() else None)


def merged(before, ours):
    if not isinstance(before, dict) or not isinstance(ours, dict):
        return ours
    return {**before, **{key: merged(before.get(key), value) for key, value in ours.items()}}


Dumper.add_representer(str, text)
original, ours = open(sys.argv[1], encoding="utf-8", errors="replace").read(), yaml.safe_load(sys.stdin)
try:
    before = yaml.safe_load(original) or {}
except yaml.YAMLError:
    before = None
if not isinstance(before, dict):
    print(f"{sys.argv[2]} was no valid YAML and is replaced until it is taken back", file=sys.stderr)
    original, before = "", {}
whole = merged(before, ours)
changed = [key for key in ours if key in before and before[key] != whole[key]]
if changed and sys.argv[3] == "apply":
    print(f"{sys.argv[2]}: {', '.join(changed)} are changed, everything else in it stays", file=sys.stderr)
kept, ours_too = [], False
for line in original.splitlines(keepends=True):
    key = re.match(r"""(["']?)([\w.-]+)\1\s*:""", line)
    if key:
        ours_too = key[2] in ours
    elif line.strip() and line[0] not in " \t#-":
        ours_too = False
    if line.startswith("#") or not ours_too:
        kept.append(line)
dumped = yaml.dump({key: whole[key] for key in ours}, Dumper=Dumper, sort_keys=False, allow_unicode=True)
new = "".join(kept).rstrip("\n") + "\n" * bool(kept) + dumped
try:
    same = yaml.safe_load(new) == whole
except yaml.YAMLError:
    same = False
sys.stdout.write(new if same else yaml.dump(whole, Dumper=Dumper, sort_keys=False, allow_unicode=True))
PYTHON
}

# By its owner and mode first, then its content.
write() {
  install -d "$directory" && install -m 0600 /dev/null "$new" && chown "$owner" "$new" && chmod "$mode" "$new" &&
    content >"$new"
}

case $1 in
check)
  [ -f "$path" ] || { echo "$path is not there" >&2 && exit 1; }
  content | cmp --quiet - "$path" || { echo "$path has another content" >&2 && exit 1; }
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
  [ -z "$said" ] || echo "$said"
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
