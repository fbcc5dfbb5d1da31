#!/usr/bin/env bash
# The prologue of every step on a host: makes it independent of the login's environment, refuses a machine that isn't
# this stack's, and prints the step's report once it is complete.
# Standard input: a first line with the claimant (stack/host), followed by ` public` if the rest holds no secret; then the
# step's own.
set -eu
umask 022
# Steps parse programs' output, so it has to be English; LANGUAGE would override LC_ALL here.
export LC_ALL=C.UTF-8
unset LANGUAGE CDPATH POSIXLY_CORRECT
# sudo's secure_path may lack what dpkg needs.
for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
  [[ :$PATH: == *:$folder:* ]] || PATH=$PATH:$folder
done
export PATH
unset folder
result=null
read -r claimant
claim=/var/lib/watchpost/owner
case $claimant in
*' public') claimant=${claimant% public} ;;
*)
  # Without Python nothing masks a secret on standard input; before the packages are installed, steps get none.
  if [ -n "${unmasked:-}" ] && [ -n "$(cat)" ]; then
    [ "$1" = remove ] || { echo "watchpost: $unmasked" >&2 && exit 1; }
    exec 3>&2 >/dev/null 2>&1
    complaints=3
  fi
  ;;
esac

# Sources a shared file, one of those that host/library.sh keeps.
use() {
  # shellcheck source=/dev/null
  [ ! -r "$1" ] || { . "$1" && return; }
  echo "watchpost: $1 is gone from $(hostname): run \`python -m watchpost drift --repair\` and then \`pulumi up\`" >&"${complaints:-2}"
  exit 1
}

# Sets the step's result, in JSON.
report() {
  result=$1
}

# Ends every step; the argument is the step's verb.
finish() {
  [ "$1" != apply ] || printf '\n=watchpost= %s\n' "$result"
}

json_text() {
  python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"
}

if [ "$0" != files/host/ready.sh ]; then
  claimed=$(cat "$claim" 2>/dev/null || true)
  if [ "$0 $1" = "files/host/library.sh apply" ] && [ "$claimed" != "$claimant" ] && [ "${claimed%/*}" = "${claimant%/*}" ]; then
    echo "$(hostname) was ${claimed##*/} in this stack and is ${claimant##*/} now"
    echo "$claimant" >"$claim.new" && sync "$claim.new" && mv -T "$claim.new" "$claim" && sync "$(dirname "$claim")"
    claimed=$claimant
  fi
  if [ "$claimed" != "$claimant" ] && [ "$1" = remove ]; then
    echo "left as it is: $(hostname) belongs to ${claimed:-nobody}, not to $claimant"
    exit 0
  elif [ "$claimed" != "$claimant" ]; then
    echo "watchpost: $(hostname) is not claimed by $claimant any more but by ${claimed:-nobody} ($claim)" >&2
    exit 1
  fi
fi
