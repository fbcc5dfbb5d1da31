#!/usr/bin/env bash
# Waits until a machine has booted and can be worked on, and claims it; says what is wrong with one that can't.
# Standard input: who claims it, as for every step.
# shellcheck disable=SC2154 # claim and claimant are step.sh's
set -eu
PRETTY_NAME=$(uname -sr)
# shellcheck source=/dev/null
[ ! -e /etc/os-release ] || . /etc/os-release

fail() {
  echo "watchpost: $*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# All else of the stack has gone before, but for steps of a run that was killed, or that failed: the stack may not know
# of them. What was done last is undone first, if its note is whole and of this stack. The claim goes last.
# shellcheck disable=SC2016 # as root, with who claims and the claim
undo='
  if cd /var/lib/watchpost/undo 2>/dev/null; then
    rm -f ./*.new
    for step in $(ls -t); do
      whose=$(sed -n "1s/^# of //p" "$step")
      if [ "$(tail -n 1 "$step")" != "# complete" ]; then
        echo "left as it is: what $step did on $(hostname), since the note of that is damaged ($PWD/$step)"
      elif [ "${whose%/*}" != "${1%/*}" ]; then
        echo "left as it is: what $step did on $(hostname) for ${whose:-another stack}"
      else
        echo "undoing $step, which a run that was cut off has left"
        undoing_all=yes bash "./$step" remove <<<"$1" || failed=yes
      fi
    done
  fi
  [ -z "${failed:-}" ] || exit 1
  for lock in /run/watchpost/*.lock; do [ ! -e "$lock" ] || flock --nonblock "$lock" rm -f "$lock"; done
  rm -rf /run/watchpost/{log,answer,merged}.* /var/lib/watchpost/owner.new.*
  [ "$(cat "$2")" != "$1" ] || rm -rf /var/lib/watchpost/library
  rmdir /run/watchpost 2>/dev/null
  [ "$(cat "$2")" != "$1" ] || rm -f "$2"
  rmdir --ignore-fail-on-non-empty /var/lib/watchpost/undo /var/lib/watchpost 2>/dev/null
  sync --file-system /var/lib
'

# Claims the machine, unless somebody has: the claim is there whole and on the disk, or not at all. One that is not whole
# is of a time when that was otherwise; then the notes tell whose the machine is.
# shellcheck disable=SC2016 # as root, with who claims and the claim
make_claim='
  umask 022
  install -d -m 0755 /var/lib/watchpost
  new=$2.new.$$
  { echo "$1" >"$new" && sync "$new"; } || { rm -f "$new" && exit 1; }
  if [ -e "$2" ] && { [ -n "$(tail -c 1 "$2")" ] || ! grep -q / "$2"; }; then
    others=$(sed -s -n "1s/^# of //p" /var/lib/watchpost/undo/* 2>/dev/null | grep -vF "${1%/*}/")
    [ -n "$others" ] || mv -T "$new" "$2"
  fi
  ln -T "$new" "$2" 2>/dev/null
  rm -f "$new"
  sync /var/lib/watchpost /var/lib
'

if [ "$1" = remove ]; then
  # A stack that was refused has nothing to remove, nor has another name of the same machine.
  [ "$(cat "$claim" 2>/dev/null)" = "$claimant" ] || exit 0
  as_root bash -c "$undo" undo "$claimant" "$claim" ||
    fail "what a run that was cut off has left on $(hostname) can't all be undone; /var/lib/watchpost/undo holds it"
  exit 0
fi

# Oldest first: DPkg::Lock::Timeout, the wheels of requirements.txt, ProtectProc= of the app's unit.
# Sources: https://salsa.debian.org/apt-team/apt/-/blob/main/debian/changelog (1.9.11),
# https://pypi.org/project/ddtrace/#files, https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html
needed="apt 1.9.11, python3 3.9 to 3.14 and systemd 247 on amd64 or arm64, as Debian 11, Ubuntu 22.04 and newer have"

at_least() {
  dpkg --compare-versions "$1" ge "$2"
}

# The python3 that steps find, or else the one that apt would install; nothing where neither is known yet.
python_version() {
  as_root python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null ||
    LC_ALL=C apt-cache policy python3 2>/dev/null | sed -n -E 's/^ *Candidate: ([0-9]+\.[0-9]+).*/\1/p'
}

# By what is there and not by a name: there are many that are made from Debian.
look_at_the_release() {
  local apt systemd python architecture
  apt=$(dpkg-query -W -f '${Version}' apt)
  systemd=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
  python=$(python_version)
  architecture=$(dpkg --print-architecture)
  if at_least "$apt" 1.9.11 && at_least "$systemd" 247 && [[ $architecture =~ ^(amd64|arm64)$ ]]; then
    [ -n "$python" ] || return 0
    ! at_least "$python" 3.9 || at_least "$python" 3.15 || return 0
  fi
  fail "$(hostname) is $PRETTY_NAME with apt $apt, python3 ${python:-unknown} and systemd $systemd on $architecture:" \
    "Watchpost needs $needed"
}

# Where packages, the Agent and the app have programs that are run.
look_at_the_mounts() {
  local folder mount options
  for folder in /opt /usr /var/lib/dpkg; do
    read -r mount options < <(findmnt -n -o TARGET,OPTIONS --target "$folder" 2>/dev/null) || continue
    [[ ,$options, != *,noexec,* ]] ||
      fail "no program in $folder can run on $(hostname), since $mount is mounted with noexec:" \
        "run \`sudo mount -o remount,exec $mount\` there, and have /etc/fstab say so too"
  done
}

[ -x "$(command -v apt-get)" ] || fail "$(hostname) is $PRETTY_NAME and has no apt-get: Watchpost needs $needed"
[ -d /run/systemd/system ] || fail "$(hostname) does not run systemd, which the Agent's and the app's services need"
# As steps call it: by a program that runs another one.
said=$(as_root env true 2>&1) || {
  # In sudo's own words, since there are many reasons; and advice for those that it fits.
  rule='' advice=''
  case $said in
  *'password is required'* | *'not in the sudoers'* | *'not allowed to'*) rule="$(id -un) ALL=(ALL) NOPASSWD:ALL" ;;
  *"env: "*) rule="Defaults:$(id -un) !noexec" ;;
  *'must have a tty'*) rule="Defaults:$(id -un) !requiretty" ;;
  esac
  [ -z "$rule" ] || advice="; allow it there with: echo '$rule' > /etc/sudoers.d/watchpost"
  [ -x "$(command -v sudo)" ] || advice="; install it there, or log in as root"
  fail "$(id -un) may not use sudo without a password on $(hostname): ${said##*$'\n'}$advice"
}
look_at_the_release
look_at_the_mounts

is_up() {
  [[ $(systemctl is-system-running) =~ ^(running|degraded)$ ]]
}

# Where its units are masked, or it was installed since the machine has booted, it never runs, and would be waited for.
# Source: cloudinit/cmd/status.py in github.com/canonical/cloud-init ("not run", later "not started")
if [ -x "$(command -v cloud-init)" ] && is_up && [[ $(cloud-init status 2>/dev/null) == *'status: not '* ]]; then
  echo "cloud-init has not run on $(hostname), which is up without it; going on"
elif [ -x "$(command -v cloud-init)" ]; then
  echo "waiting for cloud-init"
  # It may end with an error of a module that nothing here needs: whether the machine is up is looked at below. The code
  # is 2 for warnings, 1 for errors, 124 where it is still at work.
  timeout 600 cloud-init status --wait >/dev/null || case $? in
  2) ;;
  124) fail "cloud-init is still at work on $(hostname) after ten minutes: see \`cloud-init status --long\` there" ;;
  *) echo "cloud-init ended with an error on $(hostname), see \`cloud-init status --long\` there; going on" ;;
  esac
fi
timeout 300 systemctl is-system-running --wait >/dev/null || true
state=$(systemctl is-system-running || true)
case $state in
running | degraded) ;;
*)
  jobs=$(systemctl list-jobs --no-legend 2>/dev/null | awk '$4 == "running" { print $2 }' | paste -sd ' ')
  fail "$(hostname) did not finish booting: systemd says '$state'${jobs:+ and is still at work on $jobs}"
  ;;
esac
# Two stacks on one machine would undo each other's work; of two at once, one gets to make the file.
if [ "$1" = apply ]; then
  said=$(as_root bash -c "$make_claim" claim "$claimant" "$claim" 2>&1) || true
fi
found=$(cat "$claim" 2>/dev/null || true)
was=''
# Another name's in this stack: whether that has another machine by now is for the program to see, and library.sh, the
# next step, is it that takes the machine over.
if [ "$1" = apply ] && [ "$found" != "$claimant" ] && [ "${found%/*}" = "${claimant%/*}" ]; then
  was=${found##*/}
  found=$claimant
fi
if [ -z "$found" ]; then
  [ ! -e "$claim" ] || fail "who has claimed $(hostname) can't be read in $claim any more, and there are notes of" \
    "another stack's: destroy that one, or if it is lost, run there: sudo rm $claim"
  [ "$1" != apply ] || fail "root can't write to /var/lib/watchpost on $(hostname), where Watchpost keeps its records:" \
    "${said##*[0-9]: }; fix that and run \`pulumi up\` again"
  fail "$(hostname) is not claimed by this stack any more: $claim is gone"
fi
[ "$found" = "$claimant" ] ||
  fail "$(hostname) belongs to another stack of Watchpost ($found): destroy that one, or if it is lost, run there: sudo rm $claim"
echo "$(hostname) is ready: $PRETTY_NAME"
# The same text after each reboot, and another one on each copy of an image: of what is made anew for one, mostly.
machine=$({
  cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub
  for card in /sys/class/net/*/device; do cat "${card%/device}/address"; done
} 2>/dev/null | sha256sum)
report "{\"machine\": \"${machine%% *}\"${was:+, \"was\": \"$was\"}}"
