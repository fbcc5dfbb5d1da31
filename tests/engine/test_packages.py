"""``files/host/packages.sh`` removes exactly what it installed, whatever happened meanwhile."""

import pytest

from sandbox.machine import Machine
from sandbox.testing.stacks import host_state
from tests.engine.steps import hold_lock, in_background, sentence, step, went_well

SCRIPT = "host/packages.sh"
WANTED = {
    "packages": "curl, tree | never-heard-of, gnupg, apache2-utils",
    "directories": "/var/lib/of-ours /usr/share/tree-of-ours",
    "users": "of-ours",
}
APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0"

OWN_PACKAGE = """
set -eu
mkdir -p /srv/p/DEBIAN /srv/p/usr/share/$name
printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\nMaintainer: me <me@example.com>\\nDescription: mine\\n%s' \
  $name "$more" >/srv/p/DEBIAN/control
printf '#!/bin/sh\\n%s\\n' "$postinst" >/srv/p/DEBIAN/postinst && chmod 0755 /srv/p/DEBIAN/postinst
dpkg-deb --build --root-owner-group /srv/p /srv/$name.deb >/dev/null && rm -r /srv/p
"""
"""Builds a package on the machine."""


@pytest.fixture(scope="module")
def machine(machine: Machine) -> Machine:
    """The machine, with apt's package lists."""
    machine.run("apt-get update && rm -rf /var/cache/apt/*.bin")
    return machine


@pytest.fixture(scope="module")
def bare(machine: Machine) -> set[str]:
    """The machine's state before the tests."""
    return host_state(machine)


def package(machine: Machine, name: str, *, more: str = "", postinst: str = "") -> None:
    """Build somebody's own package on the machine."""
    machine.run(f"name={name} more='{more}' postinst='{postinst}'\n{OWN_PACKAGE}")


def installed(machine: Machine) -> set[str]:
    """Return the installed packages."""
    found = machine.run("dpkg-query -W -f '${db:Status-Status} ${Package}\\n'").stdout.splitlines()
    return {line.split()[1] for line in found if line.startswith("installed ")}


def left_over(machine: Machine, bare: set[str]) -> list[str]:
    """List the machine's changes, without downloads of the tests' own apt."""
    changed = bare ^ host_state(machine)
    return sorted(line for line in changed if "/var/lib/apt/lists" not in line and "/var/cache/apt" not in line)


def test_it_waits_for_everybody_else_and_leaves_the_host_as_it_was(machine: Machine, bare: set[str]) -> None:
    hold_lock(machine, "/var/lib/apt/lists/lock", 120)
    in_background(machine, "own-archives", "flock /var/cache/apt/archives sleep 120")
    went_well(step(machine, SCRIPT, "apply", WANTED))
    machine.run("systemctl stop held-lock own-archives; rm -f /run/held")
    assert {"tree", "gnupg", "apache2-utils"} <= installed(machine)
    went_well(step(machine, SCRIPT, "check", WANTED))
    changed = sorted(bare ^ host_state(machine))
    assert [line for line in changed if "/var/cache/apt" in line or "/var/lib/apt/lists" in line] == []
    hold_lock(machine, "/var/lib/dpkg/lock-frontend", 3)
    went_well(step(machine, SCRIPT, "remove", WANTED))
    assert sorted(bare ^ host_state(machine)) == []


@pytest.mark.long
def test_what_somebody_installed_marked_or_needs_stays_however_often_the_step_ran(
    machine: Machine, bare: set[str]
) -> None:
    went_well(step(machine, SCRIPT, "apply", WANTED))
    assert "tree" not in machine.run("apt-mark showmanual").stdout.split()
    machine.run(f"{APT} autoremove")  # which removes none of it
    machine.run(f"{APT} install --no-install-recommends jq gnupg2 libapr1")
    machine.run("mkdir /etc/jq && echo mine >/etc/jq/mine")
    for _ in range(2):
        went_well(step(machine, SCRIPT, "apply", {**WANTED, "again": "2026-01-01"}))
    machine.run(f"{APT} install tree; rm -rf /var/lib/apt/lists/*_*")
    mine = installed(machine)
    said = went_well(step(machine, SCRIPT, "remove", WANTED))
    assert "keeping gnupg, which gnupg2 needs" in said
    assert "keeping tree, which somebody has marked as installed by hand since" in said
    assert mine - installed(machine) == {"apache2-utils", "libaprutil1"}
    assert {"jq", "libjq1", "gnupg2", "gpg", "libapr1", "tree"} <= installed(machine)
    assert machine.run("cat /etc/jq/mine; ls /var/lib/watchpost 2>&1 || true").stdout.startswith("mine\nls: cannot")
    went_well(step(machine, SCRIPT, "remove", WANTED))  # a second time there is nothing to do
    machine.run(f"{APT} purge --auto-remove jq gnupg2 libapr1 tree gnupg; rm -r /etc/jq; apt-get -qq update")
    assert left_over(machine, bare) == []


@pytest.mark.long
def test_directories_and_users_go_only_where_packages_of_ours_made_them(machine: Machine) -> None:
    make = "mkdir -p /var/lib/of-ours; getent passwd of-ours >/dev/null || useradd --system of-ours"
    package(machine, "of-ours", postinst=make)
    machine.run("mkdir -p /var/lib/theirs")
    wanted = {"packages": "/srv/of-ours.deb", "directories": "/var/lib/of-ours /var/lib/theirs", "users": "of-ours"}
    machine.run(f"mkdir /etc/theirs; {APT} install /srv/of-ours.deb && {APT} purge of-ours")
    # There from the start: they stay.
    went_well(step(machine, SCRIPT, "apply", {**wanted, "packages": "tree"}))
    went_well(step(machine, SCRIPT, "remove", {**wanted, "packages": "tree"}))
    machine.run("test -d /var/lib/of-ours && test -d /var/lib/theirs && getent passwd of-ours")
    machine.run("rmdir /var/lib/of-ours /etc/theirs && userdel of-ours")
    # Made by somebody else's package, while ours were installed.
    went_well(step(machine, SCRIPT, "apply", {**wanted, "packages": "tree"}))
    machine.run(f"{APT} install /srv/of-ours.deb")
    went_well(step(machine, SCRIPT, "remove", {**wanted, "packages": "tree"}))
    machine.run("test -d /var/lib/of-ours && getent passwd of-ours")
    machine.run(
        f"{APT} purge of-ours; rmdir /var/lib/of-ours /var/lib/theirs && userdel of-ours && rm /srv/of-ours.deb"
    )


APT_CONF = """
APT::Get::AutomaticRemove "true"; APT::Get::Purge "true"; APT::Get::Show-Versions "true";
Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";
Dir::Cache::archives "/srv/archives"; Dir::State::lists "/srv/lists";
DPkg::Lock::Timeout "0"; DPkg::Options { "--force-confnew"; };
"""
"""Somebody's options, which count for more than those by APT_CONFIG."""


@pytest.mark.long
def test_nothing_of_others_goes_and_no_lock_is_in_the_way_whatever_apt_s_options_are(
    machine: Machine, bare: set[str]
) -> None:
    machine.run(f"{APT} install --no-install-recommends jq && apt-mark auto jq")
    machine.run("mkdir -p /srv/archives/partial /srv/lists/partial && cat >/etc/apt/apt.conf.d/99mine", input=APT_CONF)
    machine.run("apt-get -qq update")
    hold_lock(machine, "/var/lib/dpkg/lock-frontend", 3)
    went_well(step(machine, SCRIPT, "apply", {"packages": "tree"}))
    assert {"tree", "jq", "libjq1"} <= installed(machine)
    hold_lock(machine, "/var/lib/dpkg/lock-frontend", 3)
    went_well(step(machine, SCRIPT, "remove", {"packages": "tree"}))
    machine.run("rm -r /etc/apt/apt.conf.d/99mine /srv/archives /srv/lists")
    assert {"jq", "libjq1"} <= installed(machine)
    assert "tree" not in installed(machine)
    machine.run(f"{APT} purge --auto-remove jq; rm -f /run/held")
    assert left_over(machine, bare) == []


@pytest.mark.long
def test_a_server_of_another_name_will_do_and_no_package_is_taken_away_for_another(
    machine: Machine, bare: set[str]
) -> None:
    provides = "Provides: virtual-mysql-server (= 8.0), mysql-server\nConflicts: virtual-mysql-server, tree\n"
    package(machine, "some-cluster-server", more=provides)
    machine.run(f"{APT} install /srv/some-cluster-server.deb")
    wanted = {"packages": "mysql-community-server | virtual-mysql-server"}
    # Nothing is missing, so what apt could reach doesn't matter.
    machine.run("echo 'deb http://127.0.0.1:9/none ./' >/etc/apt/sources.list.d/theirs.list")
    went_well(step(machine, SCRIPT, "apply", wanted))
    went_well(step(machine, SCRIPT, "check", wanted))
    told = sentence(step(machine, SCRIPT, "apply", {"packages": "tree"}))
    assert told.startswith("apt on vm can't install tree: some-cluster-server would have to go. Remove it there")
    assert "some-cluster-server" in installed(machine)
    went_well(step(machine, SCRIPT, "remove", wanted))
    machine.run(f"rm /etc/apt/sources.list.d/theirs.list; {APT} purge some-cluster-server; rm /srv/*.deb")
    assert left_over(machine, bare) == []


@pytest.mark.long
def test_a_broken_source_is_told_and_matters_only_where_it_is_needed(machine: Machine, bare: set[str]) -> None:
    mirror = machine.run("apt-get indextargets --format '$(SITE)' | head -n 1").stdout.strip()
    machine.run(f"echo 'deb {mirror} of-nobody main' >/etc/apt/sources.list.d/theirs.list")
    said = went_well(step(machine, SCRIPT, "apply", {"packages": "tree"}))
    assert "apt on vm can't read all of its sources: The repository '" in said
    assert "tree" in installed(machine)
    told = sentence(step(machine, SCRIPT, "apply", {"packages": "tree, never-heard-of"}))
    assert told.startswith("apt on vm offers none of: never-heard-of: The repository '")
    assert "of-nobody Release' does not have a Release file" in told
    machine.run("rm /etc/apt/sources.list.d/theirs.list")
    went_well(step(machine, SCRIPT, "remove", {"packages": "tree"}))
    assert left_over(machine, bare) == []


@pytest.mark.long
def test_a_package_of_others_that_can_not_be_configured_is_told_and_is_no_obstacle(
    machine: Machine, bare: set[str]
) -> None:
    package(machine, "theirs", postinst="exit 3")
    machine.run("dpkg -i /srv/theirs.deb || true")
    told = "but failed on other packages: dpkg: error processing package theirs (--configure): installed theirs package"
    assert told in went_well(step(machine, SCRIPT, "apply", {"packages": "tree"}))
    assert told in went_well(step(machine, SCRIPT, "remove", {"packages": "tree"}))
    assert "tree" not in installed(machine)
    machine.run("dpkg --purge theirs; rm /srv/theirs.deb")
    assert left_over(machine, bare) == []


@pytest.mark.long
def test_a_server_that_holds_somebody_s_databases_stays_and_says_so(machine: Machine, bare: set[str]) -> None:
    package(machine, "a-server", postinst="mkdir -p /var/lib/a-server/mysql && touch /var/lib/a-server/mysql/user.ibd")
    machine.run(
        "cd /srv && { dpkg-deb -f a-server.deb && printf 'Filename: ./a-server.deb\\nSize: %s\\nSHA256: %s\\n'"
        " $(stat -c %s a-server.deb) $(sha256sum a-server.deb | cut -d ' ' -f 1); } >Packages"
        " && echo 'deb [trusted=yes] file:/srv ./' >/etc/apt/sources.list.d/theirs.list"
    )
    folder = "/var/lib/a-server"
    wanted = {"packages": "a-server", "directories": folder, "databases": folder}
    in_background(machine, "their-container", "python3 -m http.server --bind 127.0.0.1 3306")
    machine.run("timeout 20 bash -c 'until ss -Hltn | grep -q :3306; do sleep 0.1; done'")
    told = sentence(step(machine, SCRIPT, "apply", wanted))
    machine.run("systemctl stop their-container")
    assert told.startswith(
        "port 3306 on vm, which the database needs that would be installed, is taken by python3 (proc"
    )
    assert "a-server" not in installed(machine)
    for theirs in (True, False):
        went_well(step(machine, SCRIPT, "apply", wanted))
        machine.run(f"mkdir {folder}/empty {folder}/shop; touch {folder}/empty/db.opt")
        if theirs:
            machine.run(f"touch {folder}/shop/orders.ibd")
        said = went_well(step(machine, SCRIPT, "remove", wanted))
        assert ("a-server holds others' databases: shop\n" in said) == theirs
        assert ("a-server" in installed(machine)) == theirs
        if theirs:
            machine.run(f"{APT} autoremove; test -e {folder}/shop/orders.ibd; test ! -e /var/lib/watchpost")
            machine.run(f"{APT} purge a-server; rm -r {folder}")
    machine.run("rm /srv/*.deb /srv/Packages /etc/apt/sources.list.d/theirs.list")
    assert left_over(machine, bare) == []


@pytest.mark.long
def test_a_package_that_apt_does_not_know_any_more_is_removed(machine: Machine, bare: set[str]) -> None:
    went_well(step(machine, SCRIPT, "apply", {"packages": "tree"}))
    machine.run("mv /etc/apt/sources.list /root/ && rm -rf /var/lib/apt/lists/*_*")
    machine.run(f"{APT} purge tree && mv /usr/bin/ps /root/")  # by hand, no longer available; and no procps
    done = step(machine, SCRIPT, "remove", {"packages": "tree"})
    machine.run("mv /root/ps /usr/bin/ && mv /root/sources.list /etc/apt/ && apt-get -qq update")
    assert (done.returncode, done.stderr) == (0, "")
    assert left_over(machine, bare) == []


@pytest.mark.long
@pytest.mark.parametrize("damage", [": >", "printf 'begun .\\ninstalled tr' >", "rm"])
def test_what_a_damaged_note_does_not_tell_of_stays_and_is_named(machine: Machine, damage: str) -> None:
    went_well(step(machine, SCRIPT, "apply", {"packages": "tree"}))
    machine.run(f"{damage} /var/lib/watchpost/packages/ours")
    said = went_well(step(machine, SCRIPT, "remove", {"packages": "tree"}))
    assert "can't be read in full (/var/lib/watchpost/packages/ours)" in said
    assert "keeping tree, of which it isn't known who installed it" in said
    assert "tree" in installed(machine)
    machine.run(f"{APT} purge tree; test ! -e /var/lib/watchpost")


@pytest.mark.long
def test_the_note_of_an_earlier_version_takes_nothing_of_others(machine: Machine, bare: set[str]) -> None:
    ours = "apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 install --no-install-recommends"
    kept = "/var/lib/watchpost/packages"
    names = "dpkg-query -W -f '${db:Status-Status} ${binary:Package}\\n' | sed -n 's/^installed //p' | LC_ALL=C sort"
    machine.run(f"mkdir -p {kept} && {names} >{kept}/before && : >{kept}/directories && : >{kept}/users")
    machine.run(f"{ours} apache2-utils && {APT} install --no-install-recommends jq")
    machine.run(f"{names} | LC_ALL=C comm -13 {kept}/before - >{kept}/ours")
    went_well(step(machine, SCRIPT, "apply", {"packages": "apache2-utils"}))
    went_well(step(machine, SCRIPT, "remove", {"packages": "apache2-utils"}))
    assert {"jq", "libjq1"} <= installed(machine)
    machine.run(f"{APT} purge --auto-remove jq")
    assert left_over(machine, bare) == []


def test_what_cannot_be_had_is_told_and_a_failed_step_is_undone_when_the_stack_lets_go(
    machine: Machine, bare: set[str]
) -> None:
    step(machine, "host/ready.sh", "apply", {}, "watchpost:me/vm\n")
    done = step(machine, SCRIPT, "apply", {"packages": "tree, never-heard-of"})
    assert sentence(done) == "apt on vm offers none of: never-heard-of"
    went_well(step(machine, "host/ready.sh", "remove", {}))
    assert left_over(machine, bare) == []


CUT = r"""
cp /usr/bin/dpkg-deb /run/dpkg-deb
cat >/run/cut <<'END'
#!/usr/bin/env bash
[[ "$*" != *--fsys-tarfile*[/-]gpgconf_* ]] || {
  /run/dpkg-deb "$@" | head -c 100000
  sleep 0.5
  pkill -KILL -f [h]ost/packages.sh
  pkill -KILL '^(apt-get|dpkg)$'
}
exec /run/dpkg-deb "$@"
END
chmod 0755 /run/cut
mount --bind /run/cut /usr/bin/dpkg-deb
"""
"""Kills the step, apt and dpkg in the middle of a package's files."""


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_killed_step_is_undone_when_the_stack_lets_go(machine: Machine, bare: set[str], *, again: bool) -> None:
    step(machine, "host/ready.sh", "apply", {}, "watchpost:me/vm\n")
    machine.run(CUT)
    done = step(machine, SCRIPT, "apply", WANTED)
    machine.run("umount /usr/bin/dpkg-deb; rm /run/cut /run/dpkg-deb")
    assert done.returncode != 0
    assert machine.run("dpkg-query -W -f '${db:Status-Status}' gpgconf").stdout == "half-installed"
    if again:
        went_well(step(machine, SCRIPT, "apply", WANTED))
        went_well(step(machine, SCRIPT, "check", WANTED))
    went_well(step(machine, "host/ready.sh", "remove", {}))
    assert left_over(machine, bare) == []
