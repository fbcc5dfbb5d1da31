"""Runs the scripts of ``files/`` on hosts and writes files there: the only place that knows pulumi-command.

A script is one idempotent step. It is called with ``apply`` when its resource is created or updated, with ``remove``
when it is deleted, and by ``python -m watchpost drift`` with ``check``, which changes nothing and fails where the host
is not as the step left it. Its plain arguments are variables and its secrets come on standard input; whatever it prints
is masked by ``host/mask.py``. It reaches the host as the text of the command, so that a preview shows every change of
it, and every change runs it again. Login shells may print what they like: a step's result is what its report says.

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

AGAIN = 3
"""How often a step that was cut off is run again in one run."""

REPORT = re.compile(r"^=watchpost= (.*)$", re.MULTILINE)
"""The line that a step prints when it is through, whatever its login says around it: its result as JSON."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step on a machine: its resource, and what it reported, plain JSON, at its end."""

    resource: remote.Command
    result: pulumi.Output[Any]


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Where scripts run: the connection to a machine, and what becomes of their work on ``pulumi destroy``.

    ``owner`` is what has claimed the machine: a step on one that isn't this owner's does nothing.

    ``vm`` is the resource of a VM that the stack owns: when that goes, nothing on it needs undoing. ``repairs`` are
    steps to run again, by name, each with a text that differs from the last time. ``on_error`` is asked whether a step
    that failed is run again: :func:`was_cut_off`.
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
        """A step on the machine: ``script`` is its path under ``files/``; ``then`` is called each time it has run.

        One that leaves nothing behind has nothing to ``undo``: its script isn't kept for that, and not called. What it
        ``reports`` is an object with these keys, or with none of them a text. It ``holds_secrets`` where its programs
        have some that aren't in ``stdin``.
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
                stdin=pulumi.Output.concat(self.owner, _shown(stdin), "\n", stdin or ""),
                add_previous_output_in_env=False,
                opts=pulumi.ResourceOptions(
                    parent=parent,
                    depends_on=list(depends_on),
                    deleted_with=self.vm,
                    # An option, unlike an input, can be changed without the machine: also when that is gone.
                    retain_on_delete=not self.undo,
                    additional_secret_outputs=["connection"],
                    hooks=pulumi.ResourceHookBinding(
                        on_error=[self.on_error], after_create=list(then), after_update=list(then)
                    ),
                ),
            )

        resource = command(name, undo=undo)
        # What is removed with the other resource must not be removed with this one too.
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
        """A file on the machine, owner and mode set before its content; what was there before comes back on delete.

        ``merged_by`` is a Python on the machine with PyYAML: it merges the content, YAML, into what was there before.
        """
        variables = {"path": path, "owner": owner, "mode": mode, **({"python": merged_by} if merged_by else {})}
        resource = self.run(
            name, "host/file.sh", parent=parent, variables=variables, stdin=content, depends_on=depends_on
        ).resource
        return RemoteFile(path=path, content=content, resource=resource, again=self.repairs.get(name, ""))


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file that a stack keeps on a host."""

    path: str
    content: pulumi.Input[str] = field(repr=False)
    resource: pulumi.Resource
    again: str = ""

    @property
    def fingerprint(self) -> pulumi.Output[str]:
        """Changes when the content does, or when it is written again; as secret as the content is."""
        return pulumi.Output.from_input(self.content).apply(
            lambda content: f"{self.path} {hashlib.sha256(content.encode()).hexdigest()} {self.again}".rstrip()
        )


def fingerprints(files: Sequence[RemoteFile]) -> pulumi.Output[str]:
    """Changes when one of ``files`` does: the standard input of a step that has to follow them."""
    return pulumi.Output.all(*(file.fingerprint for file in files)).apply(
        lambda lines: "".join(f"{x}\n" for x in lines)
    )


def reported(stdout: object, keys: Sequence[str] | None = None) -> list[Any]:
    """What a step that ran to its end reported, the only entry; none where it didn't, or where that is damaged.

    ``keys`` are what an object must have; with none of them it has to be a text.
    """
    lines = REPORT.findall(stdout) if isinstance(stdout, str) else []
    try:
        found = [json.loads(line) for line in lines[-1:]]
    except ValueError:
        return []
    if keys is None:
        return found
    return [x for x in found if (isinstance(x, dict) and set(keys) <= set(x) if keys else isinstance(x, str))]


async def _shown(stdin: pulumi.Input[str] | None) -> str:
    """What tells ``host/step.sh`` that the step is given no secret, so that whatever it says can be shown."""
    return "" if await pulumi.Output.from_input(stdin).is_secret() else " public"


def _result(name: str, stdout: object, keys: Sequence[str] | None, again: Callable[[str], remote.Command]) -> Any:
    """The step's result; where the state holds none, that of the same step run ``again`` under another name."""
    if found := reported(stdout, keys):
        return found[0]
    pulumi.log.warn(f"the state holds no report of {name}: the step is run again")

    def second(stdout: object) -> Any:
        if found := reported(stdout, keys):
            return found[0]
        said = f"said only {str(stdout).strip()[-200:]!r}" if stdout else "said nothing"
        raise pulumi.RunError(
            f"{name} did not run: what answered at its host {said}. Another command stands in the way of it: look for"
            " `command=` in authorized_keys, ForceCommand in sshd_config, and the login shell of the host's `user`"
        )

    return again(f"{name}-again").stdout.apply(second)


def was_cut_off(arguments: pulumi.ErrorHookArgs) -> bool:
    """Whether a step that failed is run again: one that broke off, as when its host reboots or the connection is lost.

    Dialing waits until the host is back, and a step is made to do again what it left half done.
    """
    error = arguments.errors[0]
    again = plugin_errors.was_cut_off(error) and len(arguments.errors) <= AGAIN
    if again:
        pulumi.log.warn(
            f"{arguments.name} was cut off ({plugin_errors.reason(error)}), as when its host reboots: it is run again"
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
    """A step where Pulumi itself runs: again when ``script`` or one of the files that it ``reads`` has changed.

    A change of ``replace_on`` undoes it first and then does it anew. One with nothing to ``undo`` is only forgotten. It
    finds what it printed the last time in ``PULUMI_COMMAND_STDOUT``.
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
    """Run ``script`` from the clone, also where Git has given its lines the ends of Windows."""
    return f"script=$(tr -d '\\r' <files/{script}) && exec bash -c \"$script\" files/{script} {verb}"
