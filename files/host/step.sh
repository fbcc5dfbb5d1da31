#!/usr/bin/env bash
# Begins every step on a host: nothing of the login's own surroundings counts, and nothing is done on a machine that
# isn't this stack's. What the step reports is printed once it is through.
# Standard input: who claims the machine (stack/host) in the first line, then the step's own.
set -eu
umask 022
# What programs say is read, so they have to say it in English.
export LC_ALL=C.UTF-8
result=null
read -r claimant
claim=/var/lib/watchpost/owner

# The step's result, in JSON.
report() {
  result=$1
}

# The last thing that a step does; what it is called for comes with it.
finish() {
  [ "$1" != apply ] || printf '\n=watchpost= %s\n' "$result"
}

json_text() {
  python3 -c 'import json, sys; print(json.dumps(sys.argv[1]))' "$1"
}

if [ "$0" != files/host/ready.sh ]; then
  claimed=$(cat "$claim" 2>/dev/null || true)
  if [ "$claimed" != "$claimant" ] && [ "$1" = remove ]; then
    echo "left as it is: $(hostname) belongs to ${claimed:-nobody}, not to $claimant"
    exit 0
  elif [ "$claimed" != "$claimant" ]; then
    echo "watchpost: $(hostname) is not claimed by $claimant any more but by ${claimed:-nobody} ($claim)" >&2
    exit 1
  fi
fi
