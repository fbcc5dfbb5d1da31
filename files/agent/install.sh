#!/usr/bin/env bash
# Installs Datadog Agent 7 with the official install script; on removal undoes that, and restores the version and files of
# an Agent that was there before. A first install that fails is undone at once.
# Variables: url (of the install script), version (7.MINOR.PATCH), exact (`yes` for that very version; else an Agent that
# is newer, or on hold, is kept), lock_wait (seconds to wait for another apt, default 600), sha256 (of the script, which
# doesn't run if it has another one; default: any).
# The real API key follows in datadog.yaml: here it would be in the environment of many processes.
# Source: https://docs.datadoghq.com/agent/supported_platforms/linux/
#   https://github.com/DataDog/agent-linux-install-script (what it leaves behind; read at version 1.46)
# shellcheck disable=SC2154 # undo_folder is cause.sh's
set -eu
: "${url:?}" "${version:?}" "${exact:=yes}" "${lock_wait:=600}" "${sha256:=}"
kept=/var/lib/watchpost/agent
note=$kept/ours
# The script's current folder, home folder and /tmp; only root's, and removed with the step.
scratch=/var/lib/watchpost/agent-script
list=/etc/apt/sources.list.d/datadog.list
keyring=/usr/share/keyrings/datadog-archive-keyring.gpg
config=/etc/datadog-agent
no_key=00000000000000000000000000000000
places=(/etc /opt /var/cache/apt/archives /var/lib/dpkg /usr /var /tmp)
# What the script itself writes: restored, or removed.
written=("$list" "$keyring" "$keyring~" "$config/install.json" "$config/install_info" "$config/environment")
# What the Agent's packages leave behind when they are purged.
left=("$config" /opt/datadog-agent /var/log/datadog /opt/datadog-packages /etc/datadog-installer)
use files/host/cause.sh
use files/host/folder.sh
use files/host/dpkg.sh
# https stays https, even across redirects, to which curl applies --proto too.
encrypted=(--proto '=http,https')

installed_version() {
  dpkg-query -W -f '${db:Status-Status} ${Version}\n' datadog-agent 2>/dev/null | sed -n 's/^installed \(.*:\)\?\([0-9.]*\).*/\2/p'
}

is_held() {
  [ "$(dpkg-query -W -f '${db:Status-Want}' datadog-agent 2>/dev/null)" = hold ]
}

# Why an installed version other than the wanted one is kept, if it is.
keeps() {
  [ "$exact" != yes ] && [ -n "$1" ] && [ "$1" != "$version" ] || return 1
  if dpkg --compare-versions "$1" gt "$version"; then
    echo "is newer than $version"
  elif is_held; then
    echo "is on hold (apt-mark)"
  else
    return 1
  fi
}

# Notes what is there before the script's first run, with copies of what it overwrites.
note_before() {
  local path
  rm -f "$note"
  rm -rf "$kept/files"
  begin_note
  install -d -m 0700 "$kept/files" || return
  {
    for path in "${written[@]}" "${left[@]}"; do
      if [ ! -e "$path" ] && [ ! -L "$path" ]; then
        echo "absent $path"
      elif [[ " ${written[*]} " == *" $path "* ]]; then
        folder keep "$path" "$kept/files/${path//\//_}" || return
        echo "copied $path"
      fi
    done
    ! [ -d /opt ] || echo "folder /opt"
    ! is_held || echo "held datadog-agent"
    ! apt-mark showauto datadog-agent | grep -q . || echo "automatic datadog-agent"
    echo "service $(systemctl is-enabled datadog-agent 2>/dev/null || true) $(systemctl is-active datadog-agent 2>/dev/null || true)"
    echo "version $1"
  } >"$kept/before" || return
  sync "$kept/files"
  add_facts <"$kept/before"
  rm "$kept/before"
}

# Whether the configuration is the one that the script wrote for us, or Watchpost's, which kept that one.
configured_by_us() {
  { folder show "$config/datadog.yaml" && cat "/var/lib/watchpost/files$config/datadog.yaml/original" 2>/dev/null; } |
    grep -q "^api_key: $no_key\$"
}

# An older version's notes don't say whether the Agent is ours, but its key does.
read_old_note() {
  [ -e "$kept/paths-before" ] || return 0
  local name path
  if ! facts | grep -qx begun; then
    {
      printf '%s\n' begun 'done' "service enabled active"
      [ ! -s "$kept/version-before" ] || echo "replacing datadog-agent 1:$(cat "$kept/version-before")-1"
      if [ ! -s "$kept/version-before" ] && [ -s "$kept/paths-before" ] && configured_by_us; then
        printf '%s\n' script "installing datadog-agent purge"
        ! installed_by "datadog-agent=1:7." | grep -q '^datadog-signing-keys' || echo "installing datadog-signing-keys purge"
        for path in "${written[@]}" "${left[@]}"; do
          grep -qxF "$path" "$kept/paths-before" || echo "absent $path"
        done
        ! grep -qxF /opt "$kept/paths-before" || echo "folder /opt"
        echo "absent-user dd-agent"
        ! getent passwd dd-agent >/dev/null || echo "made-user $(id -u dd-agent)"
      fi
    } | sed 's/$/ ./' | write_whole "$note"
  fi
  rm -f "$kept/paths-before" "$kept/version-before"
}

# A killed run may have noted an Agent that somebody has installed by hand since.
forget_what_is_not_ours() {
  if ours | grep -q '^installing datadog-agent ' && [ -e "$config/datadog.yaml" ] && ! configured_by_us; then
    # Nothing noted then is true of this one.
    rm -f "$note"
    begin_note
  fi
  settle
  settle_user
}

# Notes whether the Agent's user and group existed before the script ran; if they didn't, they came with our package.
# It moves somebody else's user into its group.
note_user() {
  getent group dd-agent >/dev/null || facts | grep -qx script || echo "absent-group dd-agent"
  if getent passwd dd-agent >/dev/null; then
    echo "present-user dd-agent"
    facts | grep -qx script || echo "group-of-user $(id -g dd-agent)"
  else
    echo "absent-user dd-agent"
  fi
}

settle_user() {
  local user
  if user=$(id -u dd-agent 2>/dev/null) && ours | grep -q ' datadog-agent ' &&
    [ "$(facts | grep -E '^(absent|present|made)-user ' | tail -n 1)" = "absent-user dd-agent" ]; then
    add_facts <<<"made-user $user"
  fi
}

# Ends everything that runs as our Agent's user, which would prevent a purge and the user's removal.
end_processes() {
  local user
  user=$(id -u dd-agent 2>/dev/null) && facts | grep -qx "made-user $user" || return 0
  systemctl stop 'datadog-agent*' 2>/dev/null || true
  ! [ -x "$(command -v pkill)" ] || pkill -KILL -u "$user" || true
}

remove_group() {
  ! getent group dd-agent >/dev/null || heard groupdel dd-agent ||
    give_up "the group dd-agent can't be removed on $(hostname): $said"
}

# Gives somebody else's user its group back, and removes the one that our package made.
restore_group() {
  local group
  group=$(facts | sed -n 's/^group-of-user //p')
  if [ -n "$group" ] && [ "$(id -g dd-agent)" != "$group" ] && ! heard usermod --gid "$group" dd-agent; then
    echo "keeping the user dd-agent in the group $(id -gn dd-agent): $said"
  elif facts | grep -qx 'absent-group dd-agent'; then
    remove_group
  fi
}

# Removes our Agent's user, unless it is another one by now.
remove_user() {
  local user
  if ! user=$(id -u dd-agent 2>/dev/null); then
    ! facts | grep -q '^made-user ' || remove_group
  elif facts | grep -qx "made-user $user"; then
    heard userdel dd-agent || give_up "the user dd-agent can't be removed on $(hostname): $said"
    remove_group
  elif ! facts | grep -qx 'absent-user dd-agent'; then
    restore_group
  else
    echo "keeping the user dd-agent, of which it isn't known who made it"
  fi
}

# Runs a command with a private /tmp: the script writes there under predictable names, and would leave files in the host's
# if it were killed. It can still run services' scripts.
in_scratch() {
  # shellcheck disable=SC2016
  unshare --mount bash -c 'mount --bind "$0/tmp" /tmp && cd "$0" && exec "$@"' "$scratch" "$@"
}

# Its apt removes nothing, such as an Agent of another flavor.
run_script() {
  { cat "$APT_CONFIG" && echo 'APT::Get::Remove "false";'; } >"$apt/script.conf"
  APT_CONFIG=$apt/script.conf TMPDIR=/tmp HOME=$scratch GNUPGHOME=$scratch/gnupg DD_API_KEY=$no_key DD_INSTALL_ONLY=true DD_AGENT_MAJOR_VERSION=7 \
    DD_AGENT_MINOR_VERSION=${version#7.} DD_INSTRUMENTATION_TELEMETRY_ENABLED=false in_scratch bash "$scratch/script.sh"
}

make_scratch() {
  drop_scratch
  install -d -m 0700 "$scratch" "$scratch/gnupg" "$scratch/bin"
  install -d -m 1777 "$scratch/tmp"
}

# The script's gpg leaves an agent running.
drop_scratch() {
  [ -e "$scratch" ] || return 0
  ! [ -x "$(command -v gpgconf)" ] || { gpgconf --homedir "$scratch/gnupg" --kill all && gpgconf --homedir "$scratch/gnupg" --remove-socketdir; } 2>/dev/null || true
  rm -rf "$scratch"
}

clean_up() {
  drop_scratch
  drop_own_apt
}

# Explains the script's errors to the user.
explain() {
  local list_said files
  : "${said=}"
  case $said in
  *'remove is disabled'*) echo "the Agent can't be installed on $(hostname)$(complaint)" ;;
  *'Conflicting values set for option '*)
    list_said=$(sed -n -E 's/.*regarding source ([^ ]+) .*/\1/p' <<<"$said" | head -n 1)
    files=$(grep -rlsF "${list_said%/}" /etc/apt/sources.list /etc/apt/sources.list.d | grep -vxF "$list" | paste -sd ' ')
    echo "apt on $(hostname) has Datadog's repository already, in ${files:-another file}, with another key or none: remove it there, or give it [signed-by=$keyring] (in a .sources file: Signed-By: $keyring)"
    ;;
  *NO_PUBKEY* | *BADSIG* | *EXPKEYSIG* | *EXPSIG* | *'is not signed'* | *'signatures were invalid'* | *"isn't valid, got"* | *'Hash Sum mismatch'*)
    echo "the signature of Datadog's repository is not good on $(hostname): something between may change what is downloaded, such as a proxy, or the clock is wrong"
    ;;
  *'Failed to download one or more'*GPG*keys* | *'no valid OpenPGP data'*)
    echo "$(hostname) can't have the keys of Datadog's repository (keys.datadoghq.com): $(grep -m 1 -E '^curl: |OpenPGP' <<<"$said")"
    ;;
  *'Failed to fetch'*)
    echo "apt on $(hostname) can't reach Datadog's repository: $(grep -m 1 'Failed to fetch' <<<"$said")"
    ;;
  *'Specified version not found'* | *"for 'datadog-agent' was not found"*)
    echo "there is no Agent $version in Datadog's repository: set watchpost:agentVersion to one that is (https://github.com/DataDog/datadog-agent/blob/main/CHANGELOG.rst)"
    ;;
  *) echo "the Agent's install script failed$(complaint)" ;;
  esac
}

# Ends the step; undoes a first install, else starts the Agent again if it ran before.
fail() {
  local sentence
  [ "$(systemctl is-system-running 2>/dev/null)" != stopping ] || give_up "$@"
  sentence=$(cause "$@")
  if ! facts | grep -qx 'done'; then
    echo "undoing what the install script did so far"
    take_away start
    forget
  elif [ "$was_active" = active ]; then
    systemctl start datadog-agent || true
  fi
  clean_up
  echo "$sentence" >&2
  exit 1
}

# Libraries for Single Step Instrumentation that somebody installed since; /etc/ld.so.preload may name one.
# Source: https://docs.datadoghq.com/tracing/trace_collection/automatic_instrumentation/single-step-apm/linux/
others_in() {
  find "$1" -mindepth 1 -maxdepth 1 -name 'datadog-apm-*' -printf '%f\n' 2>/dev/null | sort | paste -sd ' '
}

restore() {
  local kind path others
  while read -r kind path; do
    case $kind in
    copied)
      said=$(folder back "$path" "$kept/files/${path//\//_}" 2>&1) || echo "keeping $path: $said"
      [ -z "$said" ] || echo "$said"
      ;;
    absent)
      # Others may have added settings there since.
      if [[ " ${left[*]} " == *" $path "* ]]; then
        others=$(others_in "$path")
        if [ -n "$others" ]; then
          echo "keeping $path, which others use: $others"
        elif [ "$1" != kept ]; then
          rm -rf "$path"
        fi
      elif [ "$path" != "$config/environment" ] || [ -z "$(folder show "$path" | head -c 1)" ]; then
        said=$(folder drop "$path" 2>&1) || echo "keeping $path: $said"
      fi
      ;;
    folder) [ "$1" = kept ] || install -d "$path" ;; # dpkg removes an empty one with the last package in it
    esac
  done < <(facts | grep -E '^(copied|absent|folder) ' | sort -u)
}

# The versions before the first run of others' packages that changed since: "NAME=VERSION", a line each.
replaced() {
  facts | awk '$1 == "replacing" && !($2 in first) { first[$2] = $3 } END { for (name in first) print name, first[name] }' |
    while read -r name before; do
      ! ours | grep -q " $name " || continue
      [ "$(package_state "$name")" = installed ] || continue
      [ "$(dpkg-query -W -f '${Version}' "$name")" = "$before" ] || echo "$name=$before"
    done
}

put_back_versions() {
  local names=() source=(-o "Dir::Etc::sourcelist=$list" -o Dir::Etc::sourceparts=-)
  mapfile -t names < <(replaced)
  [ ${#names[@]} -gt 0 ] || return 0
  heard apt-get -q "${source[@]}" update || true
  if heard apt-get -q -y "${source[@]}" --allow-downgrades --allow-change-held-packages install "${names[@]}"; then
    echo "put back ${names[*]}, as before"
  else
    echo "keeping what is installed in place of ${names[*]}, which can't be had any more"
  fi
}

put_back_marks() {
  ! facts | grep -qx 'held datadog-agent' || apt-mark hold datadog-agent >/dev/null
  ! facts | grep -qx 'automatic datadog-agent' || apt-mark auto datadog-agent >/dev/null
}

# Undoes everything that the step did.
take_away() {
  local enabled='' active=unknown kept_or_gone=gone
  forget_what_is_not_ours
  if ours | grep -q ' datadog-agent '; then
    # A purge deletes the user whoever created it, and fails without one or without `deluser`: so replace that by a no-op.
    install -d -m 0700 "$scratch" "$scratch/bin"
    printf '#!/bin/sh\n' | tee "$scratch/bin/deluser" >"$scratch/bin/delgroup"
    chmod 0755 "$scratch/bin"/*
    echo "DPkg::Path \"$scratch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\";" >>"$APT_CONFIG"
    end_processes
  fi
  remove_ours no-marks "${places[@]}"
  if [ "$(package_state datadog-agent)" = installed ]; then
    kept_or_gone=kept
    put_back_versions
    put_back_marks
  fi
  ! facts | grep -qx script || restore "$kept_or_gone"
  if [ "$kept_or_gone" = kept ]; then
    echo "kept the Agent, which was here before, with the configuration that it had"
    ! facts | grep -q '^service ' || read -r _ enabled active < <(facts | grep '^service ' | head -n 1)
    [ "$enabled" != disabled ] || systemctl disable --quiet datadog-agent
    case $active in
    active) systemctl "$1" datadog-agent || true ;;
    unknown) systemctl try-restart datadog-agent || true ;;
    *) systemctl stop datadog-agent || true ;;
    esac
  elif [ "$(package_state datadog-agent)" != config-files ]; then
    remove_user
  fi
  systemctl daemon-reload
}

forget() {
  drop_folder "$kept"
  undone agent
}

# First of all: an earlier run that is still at work uses the same notes.
[ "$1" = check ] || alone packages

case $1 in
check)
  found=$(installed_version)
  [ "$found" = "$version" ] || keeps "$found" >/dev/null ||
    { echo "Agent '$found' is installed instead of $version" >&2 && exit 1; }
  ;;
apply)
  safely keep_undo agent url version exact lock_wait
  read_old_note
  safely begin_note
  own_apt
  at_end+=(drop_scratch)
  # The script's own apt doesn't repair what an interrupted one has left.
  repair_packages "${places[@]}"
  forget_what_is_not_ours
  found=$(installed_version)
  # Until something is done, what was there before may still change.
  facts | grep -qxE "done|script|version $found" || safely note_before "$found"
  if [ "$found" = "$version" ]; then
    echo "Agent $version is installed"
  elif reason=$(keeps "$found"); then
    echo "keeping Agent $found, which $reason; for another one: pulumi config set watchpost:agentVersion VERSION"
  else
    was_active=$(systemctl is-active datadog-agent || true)
    safely make_scratch
    [[ $url != https:* ]] || encrypted=(--proto '=https' --tlsv1.2)
    heard curl --fail --silent --show-error --location "${encrypted[@]}" --retry 5 --retry-connrefused --output "$scratch/script.sh" "$url" ||
      fail "the Agent's install script can't be had from $url (watchpost:installScriptUrl): ${said##*curl: }" "${places[@]}"
    found=$(sha256sum <"$scratch/script.sh") && found=${found%% *}
    [ -z "$sha256" ] || [ "$found" = "$sha256" ] ||
      fail "the Agent's install script from $url has the SHA-256 $found instead of $sha256 (watchpost:installScriptSha256), so it was not run: read it, and if it is as it should be, pulumi config set watchpost:installScriptSha256 $found" "${places[@]}"
    take_over_lists
    unshare --mount true 2>/dev/null ||
      fail "$(hostname) allows no mount namespace (unshare --mount), without which the Agent's install script would work in the /tmp that all users share"
    safely add_facts < <(note_user && echo script)
    heard run_script && status=0 || status=1
    settle
    settle_user
    [ "$status" = 0 ] || fail "$(explain)" "${places[@]}"
    found=$(installed_version)
    [ "$found" = "$version" ] ||
      fail "the install script left Agent '$found' instead of $version (watchpost:agentVersion)" "${places[@]}"
    put_back_marks
    facts | grep -qx "absent $keyring~" && rm -f "$keyring~"
    safely add_facts <<<'done'
    # The package may not start it itself.
    [ "$was_active" != active ] || systemctl start datadog-agent || true
    echo "Agent $version is installed"
  fi
  ;;
remove)
  if [ -e "$kept" ]; then
    read_old_note
    own_apt no-sources
    at_end+=(drop_scratch)
    if note_is_broken; then
      echo "what this step did can't be read in full on $(hostname) ($note): keeping all that isn't named there"
    fi
    repair_packages "${places[@]}"
    take_away restart
  elif [ -e "$undo_folder/agent" ]; then
    echo "keeping the Agent on $(hostname): what this step did isn't known any more ($kept is gone)"
  fi
  forget
  clean_up
  ;;
esac
