#!/bin/bash
# A stand-in for Datadog's install script of the Agent 7, for the sandbox machine. It behaves as version 1.46 of the real
# one does on Debian, and leaves what that leaves: a log in the current folder, files in /tmp, gpg's folder and agent in
# the home folder, a source list with its keyring and the keyring's backup, and the packages in apt's cache.
# It honours DD_API_KEY, DD_SITE, DD_URL, DD_HOSTNAME, DD_ENV, DD_TAGS (or DD_HOST_TAGS), DD_AGENT_MAJOR_VERSION,
# DD_AGENT_MINOR_VERSION, DD_INSTALL_ONLY and DD_INSTRUMENTATION_TELEMETRY_ENABLED; what is configuration counts only
# where there is no datadog.yaml yet.
# Source: https://github.com/DataDog/agent-linux-install-script
set -eu

repository='@BASE@/agent/apt/'
keys='@BASE@/agent/keys'
telemetry='@BASE@/agent/apmtelemetry'
log=ddagent-install.log
config=/etc/datadog-agent/datadog.yaml
list=/etc/apt/sources.list.d/datadog.list
keyring=/usr/share/keyrings/datadog-archive-keyring.gpg
errors=/tmp/ddog_install_error_msg
policy=/tmp/policy-do-not-start-service-rc.d
key_files=(DATADOG_APT_KEY_CURRENT.public DATADOG_APT_KEY_06462314.public DATADOG_APT_KEY_C0962C7D.public
    DATADOG_APT_KEY_F14F620E.public DATADOG_APT_KEY_382E94DE.public)
root=
[ "$UID" = 0 ] || root='sudo -E'

# Everything goes to the log and to standard output, by a pipe with a name.
pipe=/tmp/$$.tmp
mknod "$pipe" p
tee <"$pipe" "$log" &
exec 1>&-
exec 1>"$pipe" 2>&1

on_exit() {
    rm -f "$pipe"
    report "$?" || true
}
trap on_exit EXIT

report() {
    [ "${DD_INSTRUMENTATION_TELEMETRY_ENABLED:-}" != false ] && [ -n "${DD_API_KEY:-}" ] || return 0
    printf '{"request_type": "logs", "exit_code": %s}' "$1" | curl --max-time 10 -f -sSL -o /dev/null "$telemetry" \
        --header 'Content-Type: application/json' --header "DD-Api-Key: $DD_API_KEY" --data @-
}

hints() {
    printf '\nIf it still does not work, write to the support with the contents of %s.\n' "$log"
}

on_error() {
    printf '\033[31m%s\nSomething went wrong while the Datadog Agent was installed.\n\n    %s\n\033[0m\n' \
        "${message:-}" "$(grep 'No space left on device' -C1 "$errors" 2>/dev/null || true)"
    tty -s && read -t 60 -p 'Do you want to send a failure report to Datadog? (y/[n]) ' -r _ || true
    hints
    exit 1
}
trap on_error ERR

say() {
    printf '\033[34m\n* %s\n\033[0m\n' "$1"
}

[ "${DD_AGENT_MAJOR_VERSION:-7}" = 7 ] || {
    echo "DD_AGENT_MAJOR_VERSION must be 7 here. Current value: $DD_AGENT_MAJOR_VERSION"
    exit 1
}
was_running=no
! $root systemctl is-active --quiet datadog-agent || was_running=yes
if [ -z "${DD_API_KEY:-}" ] && [ ! -e "$config" ]; then
    printf '\033[31mAPI key not available in DD_API_KEY environment variable.\033[0m\n'
    exit 1
fi

# Apt's lock is tried again, and after longer each time, for these packages alone.
if ! dpkg -s curl 2>/dev/null | grep -q 'ok installed' || ! dpkg -s gnupg 2>/dev/null | grep -q 'ok installed'; then
    for try in 1 2 3 4 5 6 7 8 9 10; do
        say 'Installing curl gnupg'
        $root apt-get update || echo "'apt-get update' failed"
        code=0
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -o Acquire::Retries=5 -y curl gnupg 2>"$errors" || code=$?
        if grep 'Could not get lock' "$errors"; then
            printf 'Installation failed: Unable to get lock.\nRetrying in %ss (%s/10).\n' $((try * 5)) "$try"
            sleep $((try * 5))
        elif [ "$code" -ne 0 ]; then
            cat "$errors"
            exit "$code"
        else
            break
        fi
    done
else
    say 'Dependencies curl gnupg already installed, skipping'
fi

say 'Installing APT package sources for Datadog'
$root sh -c "echo 'deb [signed-by=$keyring] $repository stable 7' >$list"
$root chmod a+r "$list"
[ -f "$keyring" ] || $root touch "$keyring"
$root chmod a+r "$keyring"
downloads=()
for key in "${key_files[@]}"; do
    $root curl -sSL --retry 5 -o "/tmp/$key" "$keys/$key" &
    downloads+=($!)
done
failed=0
for download in "${downloads[@]}"; do wait "$download" || failed=1; done
if [ "$failed" != 0 ]; then
    echo 'Error: Failed to download one or more APT GPG keys'
    exit 1
fi
$root cat "${key_files[@]/#//tmp/}" | $root gpg --import --batch --no-default-keyring --keyring "$keyring"

message='ERROR
Failed to update the sources after adding the Datadog repository.
'
$root apt-get update -o Dir::Etc::sourcelist=sources.list.d/datadog.list -o Dir::Etc::sourceparts=- \
    -o APT::Get::List-Cleanup=0
message='ERROR
Failed to install one or more packages.
'
package=datadog-agent
if [ -n "${DD_AGENT_MINOR_VERSION:-}" ]; then
    pattern="([0-9]:)?7\.${DD_AGENT_MINOR_VERSION%.}(\.[0-9]+)?(-[0-9])?"
    found="$(apt-cache madison datadog-agent | grep -E "$pattern" -om1)" || true
    if [ -z "$found" ]; then
        printf '\n  \033[33mWarning: Specified version not found: 7.%s\n' "$DD_AGENT_MINOR_VERSION"
        printf '  Check available versions at: https://github.com/DataDog/datadog-agent/blob/main/CHANGELOG.rst\033[0m\n'
        hints
        exit 1
    fi
    package+="=$found"
fi
printf '  \033[33mInstalling package(s): %s datadog-signing-keys\n\033[0m\n' "$package"
echo exit 101 >"$policy"
$root chmod +x "$policy"
$root bash -c "DD_API_KEY='${DD_API_KEY:-}' DD_SITE='${DD_SITE:-}' POLICYRCD='$policy' apt-get install \
    -o Acquire::Retries=5 -y --force-yes $package datadog-signing-keys 2> >($root tee $errors >&2)"
message=

if [ -e "$config" ]; then
    say "Keeping old $config configuration file"
else
    $root cp "$config.example" "$config"
    say "Adding your API key to the Datadog Agent configuration: $config"
    $root sed -i "s/api_key:.*/api_key: $DD_API_KEY/" "$config"
    [ -z "${DD_SITE:-}" ] || $root sed -i "s/^# site:.*$/site: $DD_SITE/" "$config"
    [ -z "${DD_URL:-}" ] || $root sed -i "s|^# dd_url:.*$|dd_url: $DD_URL|" "$config"
    [ -z "${DD_HOSTNAME:-}" ] || $root sed -i "s/^# hostname:.*$/hostname: $DD_HOSTNAME/" "$config"
    tags=${DD_TAGS:-${DD_HOST_TAGS:-}}
    [ -z "$tags" ] || $root sed -i "s|^# tags:.*$|tags: ['${tags//,/\', \'}']|" "$config"
    [ -z "${DD_ENV:-}" ] || $root sed -i "s|^# env:.*|env: $DD_ENV|" "$config"
fi
$root touch /etc/datadog-agent/environment
$root chown dd-agent:dd-agent "$config"
$root chmod 640 "$config"
$root sh -c 'echo "{\"install_type\":\"\"}" >/etc/datadog-agent/install.json'
$root sh -c 'printf -- "---\ninstall_method:\n  tool: install_script\n  tool_version: watchpost_sandbox_stand_in\n" >/etc/datadog-agent/install_info'

if [ -n "${DD_INSTALL_ONLY:-}" ]; then
    say 'DD_INSTALL_ONLY environment variable set.'
    # Where an Agent ran, the package has restarted it, or hasn't.
    if [ "$was_running" = no ]; then
        for unit in datadog-agent datadog-agent-process datadog-agent-sysprobe datadog-agent-trace datadog-agent-security; do
            $root systemctl stop "$unit" || true
        done
    fi
    say 'The newly installed version of the Datadog Agent will not be started.'
    exit 0
fi
say 'Starting the Datadog Agent...'
message='Error starting Datadog Agent'
$root systemctl restart datadog-agent.service
say 'Your Datadog Agent is running and functioning properly.'
