#!/usr/bin/env bash
# A stack's Vagrant VM, in a folder of its own where `vagrant` works as usual. Runs where Pulumi runs, in the clone.
# Usage: vm.sh own|apply|remove
#   own     records its folder in the stack, so that `remove` is called even if `apply` fails
#   apply   brings the VM up with its current settings, and prints as JSON how to reach it
#   remove  destroys it
# Variables: vm (its name, unique to this stack and host), name (the host's), box, memory (MiB), cpus, and start, which
#   changes when the VM didn't answer. A state from before VMs had their own folders has no vm.
# PULUMI_COMMAND_STDOUT: the output of the resource's last run.
set -euo pipefail
: "${name:?}"
box=${box:-} memory=${memory:-} cpus=${cpus:-}
# Neither Vagrant nor a box's Ruby needs these, and they may point at another Vagrantfile.
unset DD_API_KEY DD_APP_KEY PULUMI_ACCESS_TOKEN PULUMI_CONFIG_PASSPHRASE
unset VAGRANT_CWD VAGRANT_DOTFILE_PATH VAGRANT_VAGRANTFILE
export VAGRANT_NO_COLOR=1

PROVIDERS=' virtualbox vmware_desktop parallels hyperv libvirt ' # of which the Vagrantfile sets memory and cpus
HOST_KEYS='ssh-ed25519 ecdsa-sha2-nistp256 ecdsa-sha2-nistp384 ecdsa-sha2-nistp521 ssh-rsa'

say() {
  printf 'watchpost: %s\n' "$*" >&2
}

fail() {
  say "$*"
  exit 1
}

# Quotes a text for JSON.
quoted() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# Reads one text from JSON that this script wrote.
field() {
  sed -n "s/.*\"$1\": \"\([^\"]*\)\".*/\1/p" | tail -n 1
}

before() {
  printf '%s\n' "${PULUMI_COMMAND_STDOUT:-}" | field "$1"
}

# Vagrant's own records of the VM, .../PROVIDER/id; nothing if there is no VM.
noted() {
  local id
  for id in "$1"/.vagrant/machines/*/*/id; do
    if [ -f "$id" ]; then
      printf '%s\n' "$id"
    fi
  done
}

# Runs Vagrant on this VM; it asks nothing, since its standard input is empty.
vagrant_here() (
  cd "$folder" && exec vagrant "$@" </dev/null
)

# Keeps only the final state of a line in which Vagrant redraws its progress.
plain() {
  local line
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    line=${line##*$'\r'}
    printf '%s\n' "${line#$'\e[K'}"
  done
}

# Runs a Vagrant command that changes the VM. An interrupted one continues to its end, and locks the VM until then.
change() {
  local said left=120
  said=$(mktemp)
  until vagrant_here "$@" 2>&1 | plain | tee "$said" >&2; do
    if ! grep -q 'another process is already executing an action' "$said" || [ $((left -= 1)) -eq 0 ]; then
      rm -f "$said"
      return 1
    fi
    say "waiting for another Vagrant command on the VM of '$name' to end"
    sleep 5
  done
  rm -f "$said"
}

# Makes first starts wait for each other, since Vagrant lets two VMs download the same box at once.
take_turn() {
  local holder
  turn=$PWD/.vagrant/vms/.turn
  until ln -s "$$" "$turn" 2>/dev/null; do
    holder=$(readlink "$turn") || continue
    # Of those that find a killed one's turn, only one at a time removes it, and only while it is still that one's.
    if ! kill -0 "$holder" 2>/dev/null && mkdir "$turn.$holder" 2>/dev/null; then
      [ "$(readlink "$turn")" != "$holder" ] || rm -f "$turn"
      rmdir "$turn.$holder"
    fi
    sleep 1
  done
  trap 'rm -f "$turn"' EXIT
}

needs_vagrant() {
  if [ ! -x "$(command -v vagrant)" ]; then
    fail "Vagrant is not installed here, which host '$name' asks for; install Vagrant and VirtualBox (or another" \
      "provider of Vagrant), or give the host an address"
  fi
}

# Moves the VM here if the stack had another name, or ran from another folder.
take_along() {
  local old
  old=$(before folder)
  if [ -n "$(noted "$folder")" ] || [ -z "${PULUMI_COMMAND_STDOUT:-}" ]; then
    return
  fi
  if [ -n "$old" ] && [ "$old" != "$folder" ] && [ -d "$old" ]; then
    rm -rf "$folder"
    mv "$old" "$folder"
    say "the VM of '$name' goes on in $folder"
  elif [ -z "$old" ] && [ -d "$PWD/.vagrant/$name/machines/default" ]; then
    mkdir -p "$folder/.vagrant/machines"
    mv "$PWD/.vagrant/$name/machines/default" "$folder/.vagrant/machines/$vm"
    rm -rf "$PWD/.vagrant/$name/machines" "$PWD/.vagrant/$name/rgloader"
    rmdir "$PWD/.vagrant/$name" 2>/dev/null || true
    say "the VM of '$name' goes on in $folder, where no other stack finds it"
  fi
}

# Writes what the Vagrantfile reads. The VM keeps its original name.
write_settings() {
  local made
  if [ -f "$folder/settings.json" ]; then
    made=$(field vm <"$folder/settings.json")
    vm=${made:-$vm}
    made=$(field box <"$folder/settings.json")
    if [ -n "$(noted "$folder")" ] && [ "$made" != "$box" ]; then
      fail "a VM of the box $made is still in $folder, and host '$name' asks for $box: remove it with" \
        "\`cd '$folder' && vagrant destroy\`"
    fi
  fi
  printf '{"vm": %s, "hostname": %s, "box": %s, "memory": %d, "cpus": %d}\n' \
    "$(quoted "$vm")" "$(quoted "$name")" "$(quoted "$box")" "$memory" "$cpus" >"$folder/settings.json"
  tr -d '\r' <files/vagrant/Vagrantfile >"$folder/Vagrantfile"
}

# Starts the VM, or restarts it if its settings have changed, which apply at a start.
bring_up() {
  local wanted running
  wanted=$(cat "$folder/settings.json" "$folder/Vagrantfile" | cksum)
  running=''
  if [ -z "$(noted "$folder")" ]; then
    take_turn
  elif [ "$wanted" != "$(cat "$folder/applied" 2>/dev/null)" ]; then
    running=$(vagrant_here status --machine-readable | tr -d '\r' | sed -n 's/^[0-9]*,[^,]*,state,running$/yes/p')
  fi
  if [ -n "$running" ]; then
    say "restarting the VM of '$name' (vagrant reload), so that its changed settings count"
    set -- reload
  else
    set -- up
  fi
  change "$1" || fail "\`vagrant $1\` failed for host '$name', see above; the next \`pulumi up\` goes on with its VM," \
    "and \`pulumi destroy\` removes it"
  rm -f "${turn:-}"
  printf '%s\n' "$wanted" >"$folder/applied"
  provider=$(noted "$folder" | head -n 1)
  provider=${provider%/id}
  provider=${provider##*/}
  case $PROVIDERS in
  *" $provider "*) ;;
  *) say "memory and cpus of host '$name' are left to its box: Vagrant's provider '$provider' is none of$PROVIDERS" ;;
  esac
}

# All values of a key in `vagrant ssh-config`.
values() {
  tr -d '\r' <<<"$config" | sed -n "s/^[[:blank:]]*$1[[:blank:]]\{1,\}//p" | sed 's/[[:blank:]]*$//; s/^"\(.*\)"$/\1/'
}

# Chooses the key that logs in, if there are several.
choose_key() {
  local key given='' found=()
  while IFS= read -r key; do
    given=$key
    if [ -f "$key" ]; then
      found+=("$key")
    fi
  done < <(values IdentityFile)
  if [ -z "$given" ]; then
    fail "the VM of '$name' gives no key to log in with, as Watchpost does: take a box that has Vagrant's key" \
      "(config.ssh.insert_key)"
  elif [ ${#found[@]} = 0 ]; then
    fail "the key of the VM of '$name', $given, is gone; make the VM anew:" \
      "pulumi up --replace '**$name-vagrant' --replace '**$name-vm'"
  fi
  private_key=${found[0]}
  if [ ${#found[@]} -gt 1 ]; then
    for key in "${found[@]}"; do
      if ssh -F /dev/null -i "${key//%/%%}" -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -p "$port" "$user@$address" true </dev/null >/dev/null 2>&1; then
        private_key=$key
        break
      fi
    done
  fi
}

# Reads the host keys over Vagrant's own connection, amid what a profile prints; chooses one that sshd offers.
choose_host_key() {
  local said shown kind key
  said=$(vagrant_here ssh -c 'cat /etc/ssh/ssh_host_*_key.pub') || true
  shown=$(ssh-keyscan -T 10 -p "$port" "$address" 2>/dev/null) || true
  for kind in $HOST_KEYS; do
    key=$(grep -oE "$kind AAAA[A-Za-z0-9+/]+=*" <<<"$said" | head -n 1) || continue
    if [ -z "$shown" ] || grep -qF "$key" <<<"$shown"; then
      host_key=$key
      return
    fi
  done
  fail "the host key of the VM of '$name' can't be read (\`vagrant ssh\` said: $(tail -n 1 <<<"$said" | tr -d '\r'));" \
    "the next \`pulumi up\` tries again. Look with: cd '$folder' && vagrant status"
}

case $1 in
own)
  : "${vm:?}"
  needs_vagrant
  folder=$PWD/.vagrant/vms/$vm
  mkdir -p "$PWD/.vagrant/vms"
  take_along
  mkdir -p "$folder"
  printf '{"folder": %s, "machine": %s}\n' "$(quoted "$folder")" "$(quoted "$(uname -n)")"
  ;;
apply)
  : "${vm:?}" "${box:?}" "${memory:?}" "${cpus:?}" "${start:?}"
  needs_vagrant
  folder=$PWD/.vagrant/vms/$vm
  take_along
  there=$(before machine)
  if [ -n "$there" ] && [ "$there" != "$(uname -n)" ] && [ -z "$(noted "$folder")" ]; then
    fail "the Vagrant VM of '$name' is on $there: run Pulumi there, give the host an \`address\`, or make another VM" \
      "here: pulumi up --replace '**$name-vm'"
  fi
  mkdir -p "$folder"
  write_settings
  bring_up
  config=$(vagrant_here ssh-config)
  address=$(values HostName | head -n 1)
  port=$(values Port | head -n 1)
  user=$(values User | head -n 1)
  if [ -z "$address" ] || [ -z "$user" ] || [[ ! $port =~ ^[0-9]+$ ]]; then
    fail "\`vagrant ssh-config\` tells no address, port and user of the VM of '$name'; it says: $(tr -s '\r\n' ' ' <<<"$config")"
  fi
  choose_key
  choose_host_key
  printf '{"address": %s, "port": %d, "user": %s, "private_key_file": %s, "host_key": %s, "folder": %s, "machine": %s, "start": %s}\n' \
    "$(quoted "$address")" "$port" "$(quoted "$user")" "$(quoted "$private_key")" "$(quoted "$host_key")" \
    "$(quoted "$folder")" "$(quoted "$(uname -n)")" "$(quoted "$start")" >"$folder/vm.json.new"
  mv "$folder/vm.json.new" "$folder/vm.json"
  cat "$folder/vm.json"
  ;;
remove)
  if [ -z "${vm:-}" ]; then
    folder=$PWD/files/vagrant
    export VAGRANT_DOTFILE_PATH=$PWD/.vagrant/$name
    needs_vagrant
    change destroy --force
    rm -rf "$VAGRANT_DOTFILE_PATH"
    exit
  fi
  folder=$PWD/.vagrant/vms/$vm
  [ -d "$folder" ] || folder=$(before folder)
  there=$(before machine)
  if [ -d "$folder/.vagrant/machines" ]; then
    needs_vagrant
    change destroy --force || fail "\`vagrant destroy\` failed for host '$name', see above; \`pulumi destroy\` tries again"
  elif [ -n "$there" ] && [ "$there" != "$(uname -n)" ]; then
    fail "the Vagrant VM of '$name' is on $there: run \`pulumi destroy\` there. If that machine is no more, take the VM" \
      "off the stack: pulumi state delete 'URN of $name-vagrant'"
  fi
  rm -rf "$folder"
  rmdir "$PWD/.vagrant/vms" "$PWD/.vagrant" 2>/dev/null || true
  ;;
esac
