"""No document puts a key where other users of the machine, or the shell's history, see it."""

import re
import subprocess

import pytest

from sandbox import paths
from sandbox.datadog.permissions import PERMISSIONS

TRACKED = subprocess.run(["git", "ls-files"], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.split()
DOCUMENTS = [name for name in TRACKED if name.endswith(".md") or name.startswith((".github/", "deploy/"))]

NAMES = r"(?:\w*(?:API_KEY|APP_KEY|APPLICATION_KEY|PASSPHRASE|TOKEN|PRIVATE_KEY|PASSWORD|PGPASSWORD|MYSQL_PWD))"

ON_A_COMMAND_LINE = [
    re.compile(rf"(?<![\w$-]){NAMES}=(?!\"?\$)[^\s`|,)]"),  # as a variable before a command, or after `export`
    re.compile(r"--from-literal\b"),
    re.compile(r"config set\b[^`\n|]*--secret\b[^`\n|<]*?\s'?[\w-]+:[\w.\[\]\"]+'?[ \t]+(?!&&|\|\||#)[^\s<`#]"),
    re.compile(r"(?:DD-API-KEY|DD-APPLICATION-KEY)\s*:\s*\S"),
    re.compile(r"\b(?:mysql|mariadb|mysqladmin)\b[^`\n]*\s(?:-p\S|--password=)"),
    re.compile(r"--(?:api-key|app-key|passphrase|token|password)[ =](?!\$)\S"),
    re.compile(r"\bcurl\b[^`\n]*\s(?:-u|--user)\s+\S+:\S"),
]

FILES = re.compile(rf"--from-file={NAMES}=\S+")
"""Names a file that holds a key."""


def keys_on_command_lines(text: str) -> list[str]:
    """Places in ``text`` with a key, or a placeholder for one, on a command line."""
    without_files = FILES.sub("", text.replace("\\\n", " "))
    return [found[0] for pattern in ON_A_COMMAND_LINE for found in pattern.finditer(without_files)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_has_a_key_on_a_command_line(name: str) -> None:
    assert keys_on_command_lines((paths.ROOT / name).read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "DD_API_KEY=… DD_APP_KEY=… .venv/bin/python -m watchpost snapshot",
        "export DD_APP_KEY=fake",
        "kubectl create secret generic x \\\n  --from-literal=DD_API_KEY=...",
        "kubectl create secret generic x --from-literal=FLEET_PRIVATE_KEY=...",
        "pulumi config set --secret datadog:apiKey 0123",
        "pulumi config set --secret --path 'watchpost:hosts.vm.privateKey' KEY",
        "curl -H 'DD-API-KEY: x' https://example.com",
        "mysql -psecret",
        "mariadb --user=root --password=x",
        "PULUMI_CONFIG_PASSPHRASE=x pulumi up",
    ],
)
def test_a_key_on_a_command_line_is_found(text: str) -> None:
    assert keys_on_command_lines(text)


@pytest.mark.parametrize(
    "text",
    [
        "pulumi config set --secret datadog:apiKey && pulumi config set --secret datadog:appKey",
        "pulumi config set --secret datadog:apiKey     # asks",
        "pulumi config set --secret --path 'watchpost:hosts.vm.privateKey' <~/.ssh/new_key",
        "kubectl create secret generic x --from-env-file=keys.env --from-file=FLEET_PRIVATE_KEY=~/.ssh/id",
        "DD_API_KEY: ${{ secrets.DD_API_KEY }}",
    ],
)
def test_what_asks_or_reads_a_file_is_not(text: str) -> None:
    assert keys_on_command_lines(text) == []


NOT_THE_PROGRAM_S = ("/api/v1/events", "/api/v1/hosts", "/api/v1/graph/snapshot")


def test_the_manual_names_the_permission_that_each_path_needs() -> None:
    manual = (paths.ROOT / "docs" / "operating.md").read_text()
    rows = re.findall(r"^\| `(GET|POST|\*) (/api/[^`]*)` \| `(\w+)`", manual, re.MULTILINE)
    for (method, path), needed in PERMISSIONS.items():
        if path.startswith(NOT_THE_PROGRAM_S):
            continue
        # As the manual has it: what is below a path is as the path, and a row of one method goes before one of all.
        named = path.replace("/{id}/validate", "/validate").replace("{id}", "*").replace("{token}", "*")
        told = [
            permission
            for asked in (method, "*")
            for row, known, permission in rows
            if row == asked and named in (known, f"{known}/*")
        ]
        assert {*told[:1]} & {*(needed or ["none"])}, (method, path)
