#!/bin/bash
# A stand-in for Datadog's install script of the Agent 7, for the sandbox machine. It honours what the real one honours:
# DD_API_KEY, DD_SITE, DD_URL, DD_HOSTNAME, DD_ENV, DD_TAGS (or DD_HOST_TAGS), DD_AGENT_MAJOR_VERSION,
# DD_AGENT_MINOR_VERSION, DD_INSTALL_ONLY. They only count where there is no datadog.yaml yet.
set -euo pipefail

package_url='@PACKAGE_URL@'
config=/etc/datadog-agent/datadog.yaml
keyring=/usr/share/keyrings/datadog-archive-keyring.gpg
export DEBIAN_FRONTEND=noninteractive

say() { printf '\n* %s\n' "$1"; }
fail() { printf '%s\n' "$1" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo DEBIAN_FRONTEND=noninteractive "$@"; fi; }
apt_get() { as_root apt-get --quiet --quiet --yes -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"; }

# Prints the package's version: DD_AGENT_MINOR_VERSION is "72", "72.1" or "72.1-1".
agent_version() {
    local minor=${DD_AGENT_MINOR_VERSION:-72.1}
    [[ $minor =~ ^[0-9]+(\.[0-9]+)?(-[0-9]+)?$ ]] || fail "Specified version not found: 7.$minor"
    local build=1
    [[ $minor != *-* ]] || build=${minor#*-}
    minor=${minor%-*}
    [[ $minor == *.* ]] || minor=$minor.0
    printf '1:7.%s-%s' "$minor" "$build"
}

# Builds the package VERSION in DIRECTORY from the archive there, and prints its path.
build_package() {
    local version=$1 directory=$2
    local root=$directory/root home=$directory/root/opt/datadog-agent
    mkdir -p "$home/lib/agent7" "$root/usr/bin" "$root/DEBIAN"
    cp "$directory"/*.py "$home/lib/agent7/"
    cp "$directory/requirements.txt" "$home/"
    ln -s /opt/datadog-agent/bin/agent/agent "$root/usr/bin/datadog-agent"
    local number=${version#1:}
    printf 'agent %s\n' "${number%-*}" >"$home/version-manifest.txt"
    sha256sum <"$directory/package.tar.gz" >"$home/package.sha256"
    install -m 0755 "$directory"/debian/* "$root/DEBIAN/"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: datadog-agent
Version: $version
Architecture: all
Maintainer: Watchpost <watchpost@example.com>
Depends: python3 (>= 3.11), python3-venv
Description: Datadog Monitoring Agent (Watchpost sandbox stand-in)
CONTROL
    chmod -R u=rwX,go=rX "$root"
    dpkg-deb --build --root-owner-group "$root" "$directory/datadog-agent.deb" >/dev/null
    printf '%s' "$directory/datadog-agent.deb"
}

# Whether VERSION, made from the archive in DIRECTORY, is what is installed.
is_installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status} ${Version}' datadog-agent 2>/dev/null)" = "installed $1" ] &&
        sha256sum <"$2/package.tar.gz" | cmp --silent - /opt/datadog-agent/package.sha256
}

install_package() {
    local version directory
    version=$(agent_version)
    directory=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory's name as it is now
    trap "rm -rf '$directory'" EXIT
    chmod 0755 "$directory" # apt's own user reads the package there
    curl --fail --silent --show-error --location --retry 5 --output "$directory/package.tar.gz" "$package_url"
    tar --extract --gzip --file="$directory/package.tar.gz" --directory="$directory" --no-same-owner
    if ! is_installed "$version" "$directory"; then
        say "Installing package(s): datadog-agent=$version"
        apt_get install --reinstall --allow-downgrades "$(build_package "$version" "$directory")"
    fi
}

install_sources() {
    say 'Installing apt-transport-https, curl and gnupg'
    apt_get update
    apt_get install --no-install-recommends curl ca-certificates
    say 'Installing APT package sources for Datadog'
    as_root tee /etc/apt/sources.list.d/datadog.list >/dev/null <<SOURCE
# Written by the stand-in of Watchpost's sandbox, which has no such repository; the real line would be:
# deb [signed-by=$keyring] https://apt.datadoghq.com/ stable 7
SOURCE
    as_root touch "$keyring"
    as_root chmod a+r /etc/apt/sources.list.d/datadog.list "$keyring"
}

# Prints datadog.yaml.example with the variables filled in.
configured() {
    local tags=${DD_TAGS:-${DD_HOST_TAGS:-}} line value
    tags=${tags:+"['${tags//,/"', '"}']"}
    while IFS= read -r line; do
        case $line in
        'api_key:'*) value=$DD_API_KEY ;;
        '# site:'*) value=${DD_SITE:-} ;;
        '# dd_url:'*) value=${DD_URL:-} ;;
        '# hostname:'*) value=${DD_HOSTNAME:-} ;;
        '# tags:'*) value=$tags ;;
        '# env:'*) value=${DD_ENV:-} ;;
        *) value='' ;;
        esac
        [ -z "$value" ] || line="${line%%:*}: $value"
        [ -z "$value" ] || line=${line#'# '}
        printf '%s\n' "$line"
    done <"$config.example"
}

write_config() {
    if as_root test -e "$config"; then
        say "Keeping old $config configuration file"
        return
    fi
    say "Adding your API key to the Datadog Agent configuration: $config"
    as_root install -m 0640 -o dd-agent -g dd-agent /dev/null "$config"
    configured | as_root tee "$config" >/dev/null
    printf -- '---\ninstall_method:\n  tool: install_script\n  tool_version: watchpost_sandbox_stand_in\n' |
        as_root tee "${config%/*}/install_info" >/dev/null
}

start_agent() {
    if [ -n "${DD_INSTALL_ONLY:-}" ] || [ ! -d /run/systemd/system ]; then
        say 'DD_INSTALL_ONLY environment variable set: the newly installed Datadog Agent will not be started.'
        return
    fi
    say 'Starting the Datadog Agent...'
    as_root systemctl restart datadog-agent.service
    say 'Your Datadog Agent is running and functioning properly.'
}

[ "${DD_AGENT_MAJOR_VERSION:-7}" = 7 ] ||
    fail "DD_AGENT_MAJOR_VERSION=$DD_AGENT_MAJOR_VERSION but this script can only install the Agent 7."
if [ -z "${DD_API_KEY:-}" ] && ! as_root test -e "$config"; then
    fail 'API key not available in DD_API_KEY environment variable.'
fi
[ "${DD_APM_INSTRUMENTATION_ENABLED:-}" = '' ] ||
    say 'The stand-in has no Single Step Instrumentation: DD_APM_INSTRUMENTATION_ENABLED is ignored.'
install_sources
install_package
write_config
start_agent
