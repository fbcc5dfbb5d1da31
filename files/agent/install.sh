#!/usr/bin/env bash
# Installs Datadog Agent 7 by the official install script; on removal uninstalls it, unless it was there before.
# Variables: url (of the install script), version (7.MINOR.PATCH).
# The real API key comes with datadog.yaml afterwards: here it would stand in the environment of many processes.
# Source: https://docs.datadoghq.com/agent/supported_platforms/linux/
set -eu
: "${url:?}" "${version:?}"
kept=/var/lib/watchpost/agent
# shellcheck source=/dev/null
. files/host/cause.sh
# shellcheck source=/dev/null
. files/host/dpkg.sh
export DEBIAN_FRONTEND=noninteractive
places=(/etc /opt /var/cache/apt/archives /var/lib/dpkg /usr /var /tmp)
ours=(/etc/datadog-agent /opt/datadog-agent /var/log/datadog /opt/datadog-packages /etc/datadog-installer
  /etc/apt/sources.list.d/datadog.list /etc/apt/sources.list.d/datadog-observability-pipelines-worker.list
  /usr/share/keyrings/datadog-archive-keyring.gpg)

installed_version() {
  dpkg-query -W -f '${db:Status-Status} ${Version}\n' datadog-agent 2>/dev/null | sed -n 's/^installed \(.*:\)\?\([0-9.]*\).*/\2/p'
}

# Before anything is looked at: what is kept is that run's, too.
[ "$1" = check ] || alone /var/lib/dpkg

case $1 in
check)
  found=$(installed_version)
  [ "$found" = "$version" ] || { echo "Agent '$found' is installed instead of $version" >&2 && exit 1; }
  ;;
apply)
  if [ ! -e "$kept" ]; then
    install -d -m 0755 "$kept.new"
    installed_version >"$kept.new/version-before"
    for path in /opt "${ours[@]}"; do [ ! -e "$path" ] || echo "$path"; done >"$kept.new/paths-before"
    mv -T "$kept.new" "$kept"
  fi
  if [ "$(installed_version)" != "$version" ]; then
    # The script's own apt neither waits for another one nor repairs what one that was cut off has left.
    repair_packages "${places[@]}"
    script=$(mktemp)
    trap 'rm -f "$script"' EXIT
    heard curl --fail --silent --show-error --location --retry 5 --retry-connrefused --output "$script" "$url" ||
      give_up "the Agent's install script can't be had from $url (watchpost:installScriptUrl)" "${places[@]}"
    heard env DD_API_KEY=00000000000000000000000000000000 DD_INSTALL_ONLY=true DD_AGENT_MAJOR_VERSION=7 \
      DD_AGENT_MINOR_VERSION="${version#7.}" DD_INSTRUMENTATION_TELEMETRY_ENABLED=false bash "$script" ||
      give_up "the Agent's install script failed" "${places[@]}"
  fi
  if [ "$(installed_version)" != "$version" ]; then
    give_up "the install script left Agent '$(installed_version)' instead of $version (watchpost:agentVersion)" \
      "${places[@]}"
  fi
  echo "Agent $version is installed"
  ;;
remove)
  [ -e "$kept" ] || exit 0
  if [ -s "$kept/version-before" ]; then
    echo "kept the Agent, which was here before; restarting it with the configuration that it had"
    systemctl restart datadog-agent || true
  else
    repair_packages "${places[@]}"
    mapfile -t packages < <(dpkg-query -W -f '${binary:Package}\n' 'datadog-*' 2>/dev/null || true)
    [ ${#packages[@]} = 0 ] ||
      heard apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 purge "${packages[@]}"
    for path in "${ours[@]}"; do
      grep -qxF "$path" "$kept/paths-before" || rm -rf "$path"
    done
    ! getent passwd dd-agent >/dev/null || userdel dd-agent
    ! getent group dd-agent >/dev/null || groupdel dd-agent
    # dpkg removes an empty /opt with the last package that has something in it.
    ! grep -qxF /opt "$kept/paths-before" || install -d /opt
    systemctl daemon-reload
  fi
  rm -r "$kept"
  rmdir --ignore-fail-on-non-empty /var/lib/watchpost
  ;;
esac
