"""Runs the scripts in ``files/`` on hosts and writes files there, through pulumi-command; ``host.py`` connects it.

A script is one idempotent step. It is called with ``apply`` when its resource is created or updated, with ``remove``
when it is deleted, and by ``python -m watchpost drift`` with ``check``, which changes nothing and fails if the host has
drifted. Plain arguments are environment variables, secrets come on standard input, and ``host/mask.py`` masks all
output. The command contains the script's text, so a preview shows every change to it, and every change runs it again.
A step's result is its report, whatever else a login shell prints.

Source: https://www.pulumi.com/registry/packages/command/api-docs/remote/command/
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
from pulumi_command import local, remote

from components import plugin_errors, templates
from components.step_command import StepCommand

RETRIES = 3
"""Retries of a step that was cut off, per update."""

REPORT = re.compile(r"^=watchpost= (.*)$", re.MULTILINE)
"""The report: a line with the result as JSON, printed at the end of a step, possibly amid a login shell's output."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step on a machine: its resource, and its result, the JSON that it reported at its end."""

    resource: remote.Command
    result: pulumi.Output[Any]


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs scripts on a machine; ``undo`` says whether ``pulumi destroy`` reverts their work.

    ``owner`` claims the machine: steps refuse to run on a machine that another owner has claimed.

    ``vm`` is the resource of a VM that the stack owns: when it is deleted, nothing on it needs reverting. ``repairs``
    maps a step's name to a text; a new text runs that step again. ``on_error`` decides whether a failed step is
    retried: :func:`was_cut_off`.
    """

    connection: pulumi.Input[remote.ConnectionArgs]
    owner: pulumi.Input[str]
    sudo: bool
    undo: bool
    on_error: pulumi.ErrorHook
    vm: pulumi.Resource | None = None
    repairs: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        name: str,
        script: str,
        *,
        parent: pulumi.Resource,
        variables: Mapping[str, str | int] | None = None,
        stdin: pulumi.Input[str] | None = None,
        depends_on: Sequence[pulumi.Resource] = (),
        as_root: bool = True,
        undo: bool = True,
        then: Sequence[pulumi.ResourceHook] = (),
        reports: Sequence[str] | None = None,
        holds_secrets: bool = False,
    ) -> Step:
        """Run ``script``, a path under ``files/``, as a step on the machine; ``then`` are hooks called after each run.

        Without ``undo``, for a step that leaves nothing behind, the script isn't called on deletion. ``reports`` are
        the keys of the reported object; if empty, the report is a text. ``holds_secrets`` marks a step whose programs
        handle secrets that aren't in ``stdin``.
        """
        variables = {**(variables or {}), **({"again": self.repairs[name]} if name in self.repairs else {})}
        sudo = self.sudo and as_root

        async def line(verb: str) -> str:
            masked = holds_secrets or await pulumi.Output.from_input(stdin).is_secret()
            return StepCommand.of(script, verb, variables, sudo=sudo, masked=masked).render()

        def command(name: str, *, undo: bool) -> remote.Command:
            return remote.Command(
                name,
                connection=self.connection,
                create=line("apply"),
                delete=line("remove") if undo else None,
                stdin=pulumi.Output.concat(self.owner, _public_marker(stdin), "\n", stdin or ""),
                add_previous_output_in_env=False,  # sshd drops these variables, with a warning at each update
                opts=pulumi.ResourceOptions(
                    parent=parent,
                    depends_on=list(depends_on),
                    deleted_with=self.vm,
                    # An option, unlike an input, can change without the machine, even after that is gone.
                    retain_on_delete=not self.undo,
                    additional_secret_outputs=["connection"],
                    hooks=pulumi.ResourceHookBinding(
                        on_error=[self.on_error], after_create=list(then), after_update=list(then)
                    ),
                ),
            )

        resource = command(name, undo=undo)
        # The retry must not undo on deletion: the original resource already does.
        result = resource.stdout.apply(
            lambda text: _result(name, text, reports, lambda other: command(other, undo=False))
        )
        return Step(resource=resource, result=result)

    def file(
        self,
        name: str,
        path: str,
        content: pulumi.Input[str],
        *,
        parent: pulumi.Resource,
        owner: str = "root:root",
        mode: str = "0644",
        merged_by: str = "",
        depends_on: Sequence[pulumi.Resource] = (),
    ) -> "RemoteFile":
        """Write a file on the machine, setting owner and mode before the content; deletion restores the previous file.

        ``merged_by`` is a Python interpreter on the machine with PyYAML, which merges the content, YAML, into the
        previous file.
        """
        variables = {"path": path, "owner": owner, "mode": mode, **({"python": merged_by} if merged_by else {})}
        resource = self.run(
            name, "host/file.sh", parent=parent, variables=variables, stdin=content, depends_on=depends_on
        ).resource
        return RemoteFile(path=path, content=content, resource=resource, again=self.repairs.get(name, ""))


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file on a host, managed by the stack."""

    path: str
    content: pulumi.Input[str] = field(repr=False)
    resource: pulumi.Resource
    again: str = ""

    @property
    def fingerprint(self) -> pulumi.Output[str]:
        """A text that changes when the content does, or when a repair rewrites the file; secret if the content is."""
        return pulumi.Output.from_input(self.content).apply(
            lambda content: f"{self.path} {hashlib.sha256(content.encode()).hexdigest()} {self.again}".rstrip()
        )


def fingerprints(files: Sequence[RemoteFile]) -> pulumi.Output[str]:
    """Join the fingerprints of ``files``: the standard input of a step that reruns when one of them changes."""
    return pulumi.Output.all(*(file.fingerprint for file in files)).apply(
        lambda lines: "".join(f"{x}\n" for x in lines)
    )


def reported(stdout: object, keys: Sequence[str] | None = None) -> list[Any]:
    """Return a step's report as the only entry; an empty list if there is none or it is malformed.

    ``keys`` are the keys that a reported object must have; if empty, the report must be a text.
    """
    lines = REPORT.findall(stdout) if isinstance(stdout, str) else []
    try:
        found = [json.loads(line) for line in lines[-1:]]
    except ValueError:
        return []
    if keys is None:
        return found
    return [x for x in found if (isinstance(x, dict) and set(keys) <= set(x) if keys else isinstance(x, str))]


async def _public_marker(stdin: pulumi.Input[str] | None) -> str:
    """Mark for ``host/step.sh`` that ``stdin`` holds no secret, so its output may be shown."""
    return "" if await pulumi.Output.from_input(stdin).is_secret() else " public"


def _result(name: str, stdout: object, keys: Sequence[str] | None, again: Callable[[str], remote.Command]) -> Any:
    """Return the step's result; if the state has none, that of running the step ``again`` under another name."""
    if found := reported(stdout, keys):
        return found[0]
    pulumi.log.warn(f"the state has no report from {name}: running the step again")

    def second(stdout: object) -> Any:
        if found := reported(stdout, keys):
            return found[0]
        said = f"said only {str(stdout).strip()[-200:]!r}" if stdout else "said nothing"
        raise pulumi.RunError(
            f"{name} did not run: what answered at its host {said}. A forced command runs in its place: look for"
            " `command=` in authorized_keys, ForceCommand in sshd_config, and the login shell of the host's `user`"
        )

    return again(f"{name}-again").stdout.apply(second)


def was_cut_off(arguments: pulumi.ErrorHookArgs) -> bool:
    """Retry a failed step if it was cut off, as when its host reboots or the connection is lost.

    Connecting waits until the host is back, and steps are idempotent.
    """
    error = arguments.errors[0]
    again = plugin_errors.was_cut_off(error) and len(arguments.errors) <= RETRIES
    if again:
        pulumi.log.warn(
            f"{arguments.name} was cut off ({plugin_errors.reason(error)}), as by a reboot of its host: it runs again"
            " once the host answers"
        )
    return again


def local_script(
    name: str,
    script: str,
    verb: str = "apply",
    *,
    parent: pulumi.Resource,
    variables: Mapping[str, pulumi.Input[str | int]],
    reads: Sequence[str] = (),
    replace_on: Sequence[object] = (),
    depends_on: Sequence[pulumi.Resource] = (),
    undo: bool = True,
) -> local.Command:
    """Run ``script`` on the machine that runs Pulumi; again when it or one of the files that it ``reads`` changes.

    A change of ``replace_on`` undoes the step before it runs again. Without ``undo``, deletion only removes the step
    from the state. The script finds its previous output in ``PULUMI_COMMAND_STDOUT``.
    """
    content = "".join(templates.text(path) for path in (script, *reads))
    return local.Command(
        name,
        interpreter=["bash", "-c"],
        create=local_command_line(script, verb),
        delete=local_command_line(script, "remove") if undo else None,
        environment={
            **{key: pulumi.Output.from_input(value).apply(str) for key, value in variables.items()},
            "content": hashlib.sha256(content.encode()).hexdigest(),
        },
        triggers=list(replace_on),
        opts=pulumi.ResourceOptions(parent=parent, delete_before_replace=True, depends_on=list(depends_on)),
    )


def local_command_line(script: str, verb: str) -> str:
    """Render the command that runs ``script`` from the clone, even if Git has checked it out with CRLF line ends."""
    return f"script=$(tr -d '\\r' <files/{script}) && exec bash -c \"$script\" files/{script} {verb}"
