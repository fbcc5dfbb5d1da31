"""Which packages ``files/host/packages.sh`` finds to use a directory or a user, by dpkg's files about them."""

import re
import subprocess
from pathlib import Path

import pytest

from components import templates

FUNCTION = re.search(r"^told_of\(\) \{\n.*?^\}$", templates.text("host/packages.sh"), re.MULTILINE | re.DOTALL)


def told_of(what: str, file: Path) -> str:
    """Return the packages that speak of ``what`` in ``file``."""
    assert FUNCTION
    script = f'{FUNCTION[0]}\ntold_of "$@"'
    command = ["bash", "-c", script, "bash", what, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "line",
    [
        "mysql",
        "chown mysql:mysql $DATADIR",
        "\tadduser --system mysql",
        "[ $# = 1 ] && chown -R mysql /srv",
        "systemd-sysusers --inline 'u! mysql - \"MySQL Server\"'",
        'user="mysql"',
        "(mysql)",
    ],
)
def test_a_package_whose_script_names_a_user_uses_it(tmp_path: Path, line: str) -> None:
    file = tmp_path / "theirs:amd64.postinst"
    file.write_text(f"#!/bin/sh\nset -e\n{line}\n")
    assert told_of("mysql", file) == "theirs:amd64"


@pytest.mark.parametrize(
    "line",
    [
        "                    # The name of proftpd-{ldap,mysql,pgsql,basic} init script is",  # libssl3's, Ubuntu 22.04
        "#mysql",
        "chown mysql-proxy /srv",
        "touch /var/lib/mysql",
        "adduser my_mysql",
    ],
)
def test_one_that_names_it_in_a_comment_or_as_a_part_of_a_word_does_not(tmp_path: Path, line: str) -> None:
    file = tmp_path / "libssl3:amd64.postinst"
    file.write_text(f"#!/bin/sh\nset -e\n{line}\n")
    assert told_of("mysql", file) == ""


@pytest.mark.parametrize(("path", "found"), [("/var/lib/mysql", "theirs"), ("/var/lib/mysql/x", "theirs"), ("/x", "")])
def test_a_package_that_has_a_directory_or_something_in_it_uses_it(tmp_path: Path, path: str, found: str) -> None:
    file = tmp_path / "theirs.list"
    file.write_text(f"/.\n{path}\n")
    assert told_of("/var/lib/mysql", file) == found
