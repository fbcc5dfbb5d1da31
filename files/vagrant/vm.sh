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
vm=${vm:-} box=${box:-} memory=${memory:-} cpus=${cpus:-}
# Neither Vagrant nor a box's Ruby needs these, and they may point at another Vagrantfile.
unset DD_API_KEY DD_APP_KEY PULUMI_ACCESS_TOKEN PULUMI_CONFIG_PASSPHRASE
unset VAGRANT_CWD VAGRANT_DOTFILE_PATH VAGRANT_VAGRANTFILE VAGRANT_FORCE_COLOR
export VAGRANT_NO_COLOR=1
# In the locale C, which services and CI often have, Vagrant's Ruby fails on a path with letters beyond ASCII.
case $(locale charmap 2>/dev/null) in
'' | ANSI_X3.4-1968 | US-ASCII)
  LC_ALL=$(locale -a 2>/dev/null | grep -iE '^(C|en_US)\.utf-?8$' | head -n 1) || true
  export LC_ALL="${LC_ALL:-C.UTF-8}"
  ;;
esac
exec 3>&2 # shows what Vagrant says, also from within $(...)

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

# Vagrant's own records of the VM, .../NAME/PROVIDER/id; nothing if there is no VM.
noted() {
  local id
  for id in "$1"/.vagrant/machines/*/*/id; do
    if [ -f "$id" ]; then
      printf '%s\n' "$id"
    fi
  done
}

# Runs Vagrant on this VM; it asks nothing, since its standard input is empty. Its log, if VAGRANT_LOG asks for one, goes
# to a file, since everything else ends up in the stack's state.
vagrant_here() (
  cd "$folder" || exit
  if [ -n "${VAGRANT_LOG:-}" ]; then
    export VAGRANT_LOG_FILE="${VAGRANT_LOG_FILE:-${VAGRANT_DOTFILE_PATH:-$folder}/vagrant.log}"
  fi
  exec vagrant "$@" </dev/null
)

# Shows what Vagrant says, and prints it as one line, to be searched. Of a line in which Vagrant redraws its progress it
# takes the final state, of a Ruby error the error alone.
told() {
  local line
  while IFS= read -r line || [ -n "$line" ]; do
    line=${line%$'\r'}
    line=${line##*$'\r'}
    line=${line#$'\e[K'}
    if [[ $line != $'\tfrom '* ]]; then
      printf '%s\n' "$line" >&3
      printf '%s ' "$line"
    fi
  done | tr -s '[:space:]' ' '
}

# Runs a Vagrant command that changes the VM; sets $said, what it said.
change() {
  until said=$(vagrant_here "$@" 2>&1 | told); do
    wait_for_others || return
  done
}

# Runs a Vagrant command that only answers; sets $answer, and $said if it fails.
ask() {
  until answer=$(vagrant_here "$@" 2>&1); do
    said=$(told <<<"$answer")
    wait_for_others || return
  done
}

# Whether another Vagrant command holds a lock. An interrupted one continues to its end, and locks the VM until then.
locked() {
  case $said in
  *'another process is already executing an action'* | *'held by another instance of Vagrant'* | \
    *'machine because it is locked'* | *'requested Vagrant action is locked'* | *'Vagrant location already in progress'*) ;;
  *) return 1 ;;
  esac
}

# Waits up to ten minutes for another Vagrant command to end; fails if that isn't why this one failed.
waits=120
wait_for_others() {
  if ! locked || [ $((waits -= 1)) -lt 0 ]; then
    return 1
  fi
  say "waiting for another Vagrant command on the VM of '$name' to end"
  sleep 5
}

# Prints the cause that $said tells, and what to do about it.
# Sources: Vagrant, templates/locales/en.yml, and its issues 1778, 3522, 11325, 11847 and 12484; vagrant-libvirt,
# locales/en.yml; VirtualBox, include/VBox/err.mac; libvirt, src/qemu/qemu_domain.c and
# src/network/bridge_driver_linux.c; QEMU, accel/kvm/kvm-all.c.
cause() {
  local home=${VAGRANT_HOME:-${HOME:-~}/.vagrant.d} provider
  case $said in
  *VERR_VMX_IN_VMX_ROOT_MODE* | *VERR_SVM_IN_USE*)
    echo "another hypervisor, such as KVM, holds the processor's virtualization, which VirtualBox needs: end its VMs and" \
      "unload it (sudo modprobe -r kvm_intel, or kvm_amd), or use it (VAGRANT_DEFAULT_PROVIDER=libvirt)"
    ;;
  *VERR_VMX_NO_VMX* | *VERR_VMX_MSR_* | *VERR_SVM_NO_SVM* | *VERR_SVM_DISABLED* | *VERR_NEM_* | *type=kvm* | \
    *'access KVM kernel module'*)
    echo "this machine's processor offers no virtualization (VT-x, AMD-V): switch it on in the firmware settings (BIOS); in" \
      "a VM, allow nested virtualization; on Windows, switch Hyper-V off"
    ;;
  *'kernel module is not loaded'* | *'installation is incomplete'* | *VERR_VM_DRIVER_* | *rc=-1908*)
    echo "VirtualBox's kernel module is not loaded: \`VBoxManage --version\` says how to build it for this kernel; with" \
      "Secure Boot it has to be signed, too"
    ;;
  *'version of VirtualBox installed that is not supported'*)
    echo "this Vagrant supports no VirtualBox as new as this one: install a newer Vagrant, or an older VirtualBox"
    ;;
  *'could not detect VirtualBox'* | *'"VBoxManage" command or one of its dependencies'* | *'No usable default provider'*)
    echo "Vagrant has no provider here that works: install VirtualBox, or another one with its plugin, such as" \
      "vagrant-libvirt"
    ;;
  *"The provider '"*"' could not be found"*)
    provider=${said#*The provider \'}
    provider=${provider%%\'*}
    echo "Vagrant has no provider '$provider' here: install its plugin (vagrant plugin install vagrant-${provider//_/-})," \
      "or correct VAGRANT_DEFAULT_PROVIDER"
    ;;
  *'connecting to '[Ll]ibvirt*[Pp]'ermission denied'* | *'connecting to '[Ll]ibvirt*[Aa]uthentication*)
    echo "this user may not use libvirt: sudo usermod -aG libvirt \$USER, then log in again"
    ;;
  *'connecting to '[Ll]ibvirt*)
    echo "libvirt does not answer: start it (sudo systemctl start libvirtd)"
    ;;
  *'o space left'* | *VERR_DISK_FULL* | *'Failed writing body'* | *'failed to unpackage'*'rite failed'* | *'quota exceeded'*)
    echo "the disk is full: make room where Vagrant keeps its boxes ($home) and the provider its VMs"
    ;;
  *'could not be found or could not be accessed'*'returned error: 404'*)
    echo "there is no box '$box', or it is private: correct hosts.$name.vagrant.box"
    ;;
  *'could not be found or could not be accessed'* | *'error occurred while downloading'* | *'an error while downloading'*)
    echo "the box '$box' can't be downloaded, for the reason above: behind a proxy set HTTPS_PROXY; without a network add" \
      "the box's file (vagrant box add --name '$box' FILE)"
    ;;
  *"doesn't support the provider"* | *"doesn't support the requested architecture"* | *'no available version that matches'*)
    echo "the box '$box' is not for this provider, or not for this machine's processor: set hosts.$name.vagrant.box to one" \
      "that is, or choose another provider (VAGRANT_DEFAULT_PROVIDER)"
    ;;
  *'VM with that name already exists'* | *'about to create is already taken'* | *'for domain is already created'*)
    echo "a VM named $vm is there already, whose folder was removed, as by \`git clean -x\`: remove it in VirtualBox" \
      "(VBoxManage unregistervm $vm --delete) or libvirt (virsh undefine $vm --remove-all-storage)"
    ;;
  *'within the allowed ranges'* | *EnableStaticIPConfig*)
    echo "VirtualBox refuses the address of a host-only network, which is none of Watchpost's: take one of 192.168.56.0/21" \
      "in $home/Vagrantfile, or allow it in /etc/vbox/networks.conf"
    ;;
  *'Network is already in use by interface'*)
    echo "another network here has the addresses of libvirt's: set libvirt.management_network_address in $home/Vagrantfile"
    ;;
  *'already listening on these ports'*)
    echo "another program has taken the VM's forwarded port, which a suspended VM can't change: end that program, or restart" \
      "the VM (cd '$folder' && vagrant reload)"
    ;;
  *VERR_NO_MEMORY* | *'annot allocate memory'* | *'ot enough memory'*)
    echo "this machine hasn't $memory MiB of memory left: lower hosts.$name.vagrant.memory, or end something else"
    ;;
  *'Timed out while waiting for the machine to boot'* | *'invalid state while waiting for it to boot'*)
    echo "the VM did not come up: look at its screen in the provider's window; if this machine is only slow, raise" \
      "config.vm.boot_timeout in $home/Vagrantfile"
    ;;
  *"created with a user that doesn't match"*)
    echo "the VM belongs to another user: run Pulumi as that one"
    ;;
  *'error loading a Vagrantfile'* | *'syntax error in the following Vagrantfile'* | *'errors in the configuration of this machine'*)
    echo "a Vagrantfile has the error above: correct $home/Vagrantfile, or take another box"
    ;;
  *'plugins failed to '*)
    echo "Vagrant's plugins don't fit its version: vagrant plugin expunge --reinstall"
    ;;
  *'home directory you specified is not accessible'* | *'@ dir_s_mkdir'*)
    echo "Vagrant can't write to $home: correct VAGRANT_HOME, or the folder's owner"
    ;;
  *) if locked; then echo "another Vagrant command has been at work for ten minutes: end it"; else echo "see above"; fi ;;
  esac
}

# Makes first starts wait for each other, since Vagrant lets two VMs download the same box at once.
take_turn() {
  local holder told=''
  turn=$PWD/.vagrant/vms/.turn
  until ln -s "$$" "$turn" 2>/dev/null; do
    holder=$(readlink "$turn") || continue
    # Of those that find a killed one's turn, only one at a time removes it, and only while it is still that one's.
    if ! kill -0 "$holder" 2>/dev/null && mkdir "$turn.$holder" 2>/dev/null; then
      [ "$(readlink "$turn")" != "$holder" ] || rm -f "$turn"
      rmdir "$turn.$holder"
    elif [ -z "$told" ]; then
      say "waiting for another VM of this clone to be created"
      told=yes
    fi
    sleep 1
  done
  trap end_turn EXIT
}

# By the end of the script, the turn may be another one's.
end_turn() {
  if [ -n "${turn:-}" ]; then
    rm -f "$turn"
    turn=''
  fi
}

has_vagrant() {
  [ -x "$(command -v vagrant)" ]
}

needs_vagrant() {
  if ! has_vagrant; then
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

# Prints the name under which Vagrant knows the VM of this folder; nothing if there is no VM.
known_as() {
  local id
  id=$(noted "$folder" | head -n 1)
  id=${id%/*/id}
  printf '%s' "${id##*/}"
}

# Writes what the Vagrantfile reads. The VM keeps its original name.
write_settings() {
  local made
  made=$(known_as)
  vm=${made:-$vm}
  if [ -n "$made" ] && [ -f "$folder/settings.json" ]; then
    made=$(field box <"$folder/settings.json")
    if [ -n "$made" ] && [ "$made" != "$box" ]; then
      fail "a VM of the box $made is still in $folder, and host '$name' asks for $box: remove it with" \
        "\`cd '$folder' && vagrant destroy\`"
    fi
  fi
  # Not in place: on a full disk the old files stay.
  printf '{"vm": %s, "hostname": %s, "box": %s, "memory": %d, "cpus": %d}\n' \
    "$(quoted "$vm")" "$(quoted "$name")" "$(quoted "$box")" "$memory" "$cpus" >"$folder/settings.json.new"
  tr -d '\r' <files/vagrant/Vagrantfile >"$folder/Vagrantfile.new"
  mv "$folder/settings.json.new" "$folder/settings.json"
  mv "$folder/Vagrantfile.new" "$folder/Vagrantfile"
}

# Fails if the key that Vagrant made for the VM is gone: it would try others until its time for a boot is over.
check_key() {
  local id key
  id=$(noted "$folder" | head -n 1)
  key=$(field private_key_file 2>/dev/null <"$folder/vm.json") || true
  if [ -n "$id" ] && [[ $key == */.vagrant/machines/*/private_key ]] && [ ! -f "${id%/id}/private_key" ]; then
    lost_key "${id%/id}/private_key"
  fi
}

lost_key() {
  fail "the key of the VM of '$name', $1, is ${2:-gone}; make the VM anew:" \
    "pulumi up --replace '**$name-vagrant' --replace '**$name-vm'"
}

# Starts the VM, or restarts it if its settings have changed, which apply at a start, but not when it is resumed.
bring_up() {
  local wanted state=''
  wanted=$(cat "$folder/settings.json" "$folder/Vagrantfile" | cksum)
  if [ -z "$(noted "$folder")" ]; then
    take_turn
  elif [ "$wanted" != "$(cat "$folder/applied" 2>/dev/null)" ] && ask status "$vm" --machine-readable 3>/dev/null; then
    state=$(tr -d '\r' <<<"$answer" | sed -n "s/^[0-9]*,$vm,state,//p")
  fi
  case $state in
  running) restart ;;
  saved | paused | suspended | pmsuspended) start_vm && restart ;;
  *) start_vm ;;
  esac
  end_turn
  printf '%s\n' "$wanted" >"$folder/applied"
  provider=$(noted "$folder" | head -n 1)
  provider=${provider%/id}
  provider=${provider##*/}
  case $PROVIDERS in
  *" $provider "*) ;;
  *) say "memory and cpus of host '$name' are left to its box: Vagrant's provider '$provider' is none of$PROVIDERS" ;;
  esac
}

# Without --no-install-provider, Vagrant would install an old VirtualBox on macOS and Windows, even beside another
# provider. If none works, the attempt with VirtualBox tells why that doesn't.
start_vm() {
  if ! change up "$vm" --no-install-provider; then
    if [[ $said == *'No usable default provider'* ]] && change up "$vm" --no-install-provider --provider=virtualbox; then
      return
    fi
    gave_up up
  fi
}

restart() {
  say "restarting the VM of '$name' (vagrant reload), so that its changed settings count"
  change reload "$vm" || gave_up reload
}

gave_up() {
  fail "\`vagrant $1\` failed for host '$name': $(cause); then run \`pulumi up\` again, or \`pulumi destroy\` to remove" \
    "what there is of the VM"
}

# Restores what `vagrant destroy` reads, if somebody removed it: Vagrant would look for a Vagrantfile in the folders above.
restore_settings() {
  local made
  made=$(known_as)
  if [ -z "$(field vm 2>/dev/null <"$folder/settings.json")" ]; then
    printf '{"vm": %s}\n' "$(quoted "${made:-$vm}")" >"$folder/settings.json"
  fi
  vm=${made:-$(field vm <"$folder/settings.json")}
  tr -d '\r' <files/vagrant/Vagrantfile >"$folder/Vagrantfile"
}

not_destroyed() {
  fail "\`vagrant destroy\` failed for host '$name': $(cause); then run \`pulumi destroy\` again. If the VM is gone for good," \
    "remove its folder first: rm -r '$1'"
}

make_folder() {
  mkdir -p "$1" || fail "the folder of the VM of '$name', $1, can't be made: let this user write there"
}

# All values of a key in `vagrant ssh-config`.
values() {
  tr -d '\r' <<<"$answer" | sed -n "s/^[[:blank:]]*$1[[:blank:]]\{1,\}//p" | sed 's/[[:blank:]]*$//; s/^"\(.*\)"$/\1/'
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
    lost_key "$given"
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
  local shown kind key
  ask ssh "$vm" -c 'cat /etc/ssh/ssh_host_*_key.pub' || true
  shown=$(ssh-keyscan -T 10 -p "$port" "$address" 2>/dev/null) || true
  for kind in $HOST_KEYS; do
    key=$(grep -oE "$kind AAAA[A-Za-z0-9+/]+=*" <<<"$answer" | head -n 1) || continue
    if [ -z "$shown" ] || grep -qF "$key" <<<"$shown"; then
      host_key=$key
      return
    fi
  done
  if [[ $answer == *'Permission denied ('* ]]; then
    lost_key "$private_key" 'not accepted there'
  fi
  fail "the host key of the VM of '$name' can't be read (\`vagrant ssh\` said: $(tail -n 1 <<<"$answer" | tr -d '\r'));" \
    "the next \`pulumi up\` tries again. Look with: cd '$folder' && vagrant status"
}

case $1 in
own)
  : "${vm:?}"
  needs_vagrant
  folder=$PWD/.vagrant/vms/$vm
  make_folder "$PWD/.vagrant/vms"
  take_along
  make_folder "$folder"
  printf '{"folder": %s, "machine": %s}\n' "$(quoted "$folder")" "$(quoted "$(uname -n)")"
  ;;
apply)
  : "${vm:?}" "${box:?}" "${memory:?}" "${cpus:?}" "${start:?}"
  needs_vagrant
  folder=$PWD/.vagrant/vms/$vm
  take_along
  there=$(before machine)
  # A machine may be renamed: what knows the VM's folder is the same one.
  if [ -n "$there" ] && [ "$there" != "$(uname -n)" ] && [ -z "$(noted "$folder")" ] && [ ! -f "$folder/vm.json" ]; then
    fail "the Vagrant VM of '$name' is on $there: run Pulumi there, give the host an \`address\`, or make another VM" \
      "here: pulumi up --replace '**$name-vm'"
  fi
  make_folder "$folder"
  write_settings
  check_key
  bring_up
  ask ssh-config "$vm" || gave_up ssh-config
  address=$(values HostName | head -n 1)
  port=$(values Port | head -n 1)
  user=$(values User | head -n 1)
  if [ -z "$address" ] || [ -z "$user" ] || [[ ! $port =~ ^[0-9]+$ ]]; then
    fail "\`vagrant ssh-config\` tells no address, port and user of the VM of '$name'; it says: $(tr -s '\r\n' ' ' <<<"$answer")"
  fi
  if [ -n "$(values ProxyCommand)" ]; then
    fail "the VM of '$name' is on another machine, which Vagrant reaches by a ProxyCommand and Watchpost doesn't: run" \
      "Pulumi there, or give the host that VM's \`address\` and a \`proxy\`"
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
  if [ -z "$vm" ]; then
    folder=$PWD/files/vagrant
    export VAGRANT_DOTFILE_PATH=$PWD/.vagrant/$name
    needs_vagrant
    change destroy --force || not_destroyed "$VAGRANT_DOTFILE_PATH"
    rm -rf "$VAGRANT_DOTFILE_PATH"
    exit
  fi
  folder=$PWD/.vagrant/vms/$vm
  [ -d "$folder" ] || folder=$(before folder)
  there=$(before machine)
  if [ -n "$(noted "$folder")" ] || { [ -d "$folder/.vagrant/machines" ] && has_vagrant; }; then
    needs_vagrant
    restore_settings
    change destroy "$vm" --force || not_destroyed "$folder"
  elif [ -n "$there" ] && [ "$there" != "$(uname -n)" ]; then
    fail "the Vagrant VM of '$name' is on $there: run \`pulumi destroy\` there. If that machine is no more, take the VM" \
      "off the stack: pulumi state delete 'URN of $name-vagrant'"
  fi
  rm -rf "$folder"
  rmdir "$PWD/.vagrant/vms" "$PWD/.vagrant" 2>/dev/null || true
  ;;
esac
