#!/usr/bin/env bash
# Brings up a Vagrant VM and prints, as JSON, how to reach it; on removal destroys it. Runs where Pulumi runs.
# Variables: name, box, memory (MiB), cpus.
set -eu
: "${name:?}" "${box:?}" "${memory:?}" "${cpus:?}"
VAGRANT_CWD=$(cd "$(dirname "$0")" && pwd)
VAGRANT_DOTFILE_PATH=$PWD/.vagrant/$name
export VAGRANT_CWD VAGRANT_DOTFILE_PATH
export WATCHPOST_NAME=$name WATCHPOST_BOX=$box WATCHPOST_MEMORY=$memory WATCHPOST_CPUS=$cpus

if [ ! -x "$(command -v vagrant)" ]; then
  echo "watchpost: Vagrant is not installed here, which host '$name' asks for; install Vagrant and VirtualBox, or give the host an address" >&2
  exit 1
fi

# One value of `vagrant ssh-config`.
value() {
  sed -n "s/^ *$1 //p" <<<"$config" | tr -d '"' | head -n 1
}

case $1 in
apply)
  vagrant up >&2
  config=$(vagrant ssh-config)
  host_key=$(vagrant ssh -c 'cat /etc/ssh/ssh_host_ed25519_key.pub' | cut -d ' ' -f 1,2 | tr -d '\r')
  if [[ $host_key != ssh-ed25519\ ?* ]]; then
    echo "watchpost: the host key of the Vagrant VM '$name' can't be read; is it running? (vagrant status)" >&2
    exit 1
  fi
  printf '{"address": "%s", "port": %d, "user": "%s", "private_key_file": "%s", "host_key": "%s"}\n' \
    "$(value HostName)" "$(value Port)" "$(value User)" "$(value IdentityFile)" "$host_key"
  ;;
remove)
  vagrant destroy --force >&2
  rm -rf "$VAGRANT_DOTFILE_PATH"
  ;;
esac
