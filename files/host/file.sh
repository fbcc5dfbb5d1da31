#!/usr/bin/env bash
# Puts standard input into a file, its owner and mode set before its content; on removal brings back what was there.
# Variables: path, owner (USER:GROUP), mode (octal); python: of a YAML file, the Python that merges standard input into
# what was there before.
# shellcheck disable=SC2154 # running and undo_folder are those of cause.sh
set -eu
: "${python:=}"
: "${path:?}" "${owner:?}" "${mode:?}"
verb=$1
kept=/var/lib/watchpost/files$path
kept_directory=$(dirname "$kept")
made=$kept_directory.made
use files/host/cause.sh
use files/host/folder.sh
# One at a time: files of one directory are removed at once, and the last has to know that it is.
alone files quietly

# What a merged file is merged into is what its folder's owner could read too: others would read it there from then on.
is_merged() {
  [ -n "$python" ] && [ -s "$kept/original" ] && [ ! -L "$kept/original" ] && grep -qs '"readable": true' "$kept/was"
}

# What belongs into a merged file, on standard output: everything that standard input doesn't name stays as it was,
# comments too; what it names is behind it. Where others may change that Python, it runs as who owns the file.
merged() {
  local by=(captured 60)
  folder is_ours "$python" 2>/dev/null || by=(as_user "${owner%%:*}" 60)
  "${by[@]}" "$python" -c "$merge" "$path" "$verb" 4<"$kept/original"
}

merge=$(
  cat <<'PYTHON'
import re, sys, yaml


class Dumper(yaml.SafeDumper):
    pass


def text(dumper, value):
    # Go takes more for a number than this, such as 1e3.
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if value[:1].isdigit() else None)


def merged(before, ours, key=""):
    if key == "instances" and isinstance(before, list) and isinstance(ours, list):
        return ours + [x for x in before if server(x) not in map(server, ours)]
    if not isinstance(before, dict) or not isinstance(ours, dict):
        return ours
    return {**before, **{key: merged(before.get(key), value, key) for key, value in ours.items()}}


def server(instance):
    """Return host and port that an integration's instance watches; by default this host's own server."""
    watched = instance if isinstance(instance, dict) else {}
    host = watched.get("host") or "localhost"
    return "localhost" if host in ("127.0.0.1", "::1") else host, str(watched.get("port") or 3306)


Dumper.add_representer(str, text)
with open(4, encoding="utf-8", errors="replace") as file:
    original = file.read()
ours = yaml.safe_load(sys.stdin)
try:
    before = yaml.safe_load(original) or {}
except yaml.YAMLError:
    before = None
if not isinstance(before, dict):
    print(f"{sys.argv[1]} was no valid YAML and is replaced until it is taken back", file=sys.stderr)
    original, before = "", {}
whole = merged(before, ours)
changed = [key for key in ours if key in before and before[key] != whole[key]]
if changed and sys.argv[2] == "apply":
    print(f"{sys.argv[1]}: {', '.join(changed)} are changed, everything else in it stays", file=sys.stderr)
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
)

write() {
  local new status=0
  if is_merged; then
    new=$(in_memory merged)
    merged >"$new" && folder put "$path" "$owner" "$mode" <"$new" || status=$?
    rm -f "$new"
    return "$status"
  fi
  [ -z "$python" ] || [ ! -e "$kept/original" ] || [ ! -s "$kept/original" ] ||
    echo "$path was a link, or not for its folder's owner to read, and is replaced until it is taken back"
  folder put "$path" "$owner" "$mode"
}

case $1 in
check)
  if is_merged; then merged 2>/dev/null; else cat; fi | folder same "$path" "$owner" "$mode"
  ;;
apply)
  keep_undo "file${path//\//_}" path owner mode
  if [ ! -d "$kept" ]; then
    install -d -m 0700 /var/lib/watchpost/files
    said=$(folder keep "$path" "$kept" 2>&1) ||
      give_up "the earlier $path can't be saved: $said" /var/lib/watchpost "$(dirname "$path")"
  elif [ ! -e "$kept/was" ]; then
    folder adopt "$path" "$kept"
  fi
  said=$(write 2>&1) || give_up "$path can't be written: ${said#"$path can't be written: "}" "$(dirname "$path")"
  [ -z "$said" ] || echo "$said"
  ;;
remove)
  rm -rf "$kept.new" "$kept.gone"
  if [ -d "$kept" ]; then
    said=$(folder back "$path" "$kept" 2>&1) && status=0 || status=$?
    [ "$status" = 0 ] || [ "$status" = 3 ] || give_up "$said"
    [ -z "$said" ] || echo "$said"
    # What couldn't be brought back stays where it is.
    if [ "$status" = 0 ] || { [ ! -e "$kept/original" ] && [ ! -L "$kept/original" ]; }; then
      drop_folder "$kept"
    fi
  else
    folder tidy "$path"
    [ ! -e "$undo_folder/file${path//\//_}" ] || { [ ! -e "$path" ] && [ ! -L "$path" ]; } ||
      echo "keeping $path: what was there before isn't known ($kept is gone)"
  fi
  # Directories that were made for files of ours go with the last of them, unless others use them.
  if [ -e "$made" ] && rmdir "$kept_directory" 2>/dev/null; then
    folder empty "$made"
    rm "$made"
  fi
  rmdir -p --ignore-fail-on-non-empty "$kept_directory" "$(dirname "$kept_directory")" 2>/dev/null || true
  undone "file${path//\//_}"
  ;;
esac
