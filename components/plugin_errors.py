"""Interprets plugin errors: the known patterns, what each means, and the source of its wording.

The patterns match messages of pulumi-command 1.2.1, pulumi-datadog 5.17, and the Go libraries in them. Any other error
is shown as it is, and nothing is retried. Remove once plugins report errors by code, not in words.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownError:
    """A pattern for an error message, what it means, and the source of its wording."""

    pattern: str
    meaning: str
    source: str


SSH = "https://pkg.go.dev/golang.org/x/crypto/ssh"
DATADOG = "https://github.com/DataDog/terraform-provider-datadog/blob/v4.19.0/datadog"

CUT_OFF = (
    KnownError(
        r"wait: remote command exited without exit status or exit signal",
        "the connection was lost, or the host went down, while the command ran",
        f"{SSH} session.go, ExitMissingError",
    ),
    KnownError(
        r"(unexpected )?EOF",
        "the connection was lost before the command began, or while its standard input was sent",
        f"{SSH} channel.go, SendRequest and WriteExtended",
    ),
    KnownError(
        r"ssh: unexpected packet in response to channel open: <nil>",
        "the connection was lost before the command began",
        f"{SSH} mux.go, openChannel",
    ),
    KnownError(
        r"ssh: disconnect, reason \d+: .*",
        "the SSH server ended the connection",
        f"{SSH} messages.go, disconnectMsg",
    ),
    KnownError(
        r"(read|write) (tcp|unix) \S+: (read: |write: )?"
        r"(connection reset by peer|broken pipe|use of closed network connection|i/o timeout|connection timed out"
        r"|no route to host|host is down|network is (down|unreachable))",
        "the network lost the connection",
        "https://pkg.go.dev/net OpError, with the words of the system for its error number",
    ),
    KnownError(
        r"Process exited with status (129|137|143)( from signal \w+)?(\. Reason was: .*)?",
        "the command was terminated (SIGHUP, SIGTERM) or killed (SIGKILL), as when the host shuts down",
        f"{SSH} session.go, Waitmsg; a shell gives 128 and the signal's number",
    ),
)
"""The errors of a command over SSH that was cut off.

A failure to connect (``after 20 failed attempts: ...``) isn't one: it has been retried for a minute by then.
"""

REFUSED = (
    KnownError(
        r"error validating monitor",
        "Datadog was only asked to validate the monitor, before creating it",
        f"{DATADOG}/resource_datadog_monitor.go, CustomizeDiff",
    ),
    KnownError(
        r"error creating (?:monitor|resource) from \S+: 4(?!08)\d\d ",
        "Datadog refused to create the monitor or the dashboard",
        f"{DATADOG}/internal/utils/utils.go, TranslateClientError",
    ),
    KnownError(
        r"error retrieving DowntimeSchedule: 4(?!08)\d\d ",
        "Datadog refused to create the downtime",
        f"{DATADOG}/fwprovider/resource_datadog_downtime_schedule.go, Create",
    ),
    KnownError(
        r"error creating service level objective from \S+: 4(?!08)\d\d ",
        "Datadog refused to create the objective",
        f"{DATADOG}/resource_datadog_service_level_objective.go, Create",
    ),
    KnownError(
        r"error retrieving retention filter: 4(?!08)\d\d ",
        "Datadog refused to create the retention filter",
        f"{DATADOG}/fwprovider/resource_datadog_apm_retention_filter.go, Create",
    ),
    KnownError(
        # Not 409: an earlier create whose answer was lost may have taken the name.
        r"error creating (?:spans metric|webhooks custom variable): 4(?!08|09)\d\d ",
        "Datadog refused to create the metric, the webhook or its variable",
        f"{DATADOG}/fwprovider/resource_datadog_spans_metric.go, resource_datadog_webhook.go, Create",
    ),
    KnownError(
        r"Error creating secure embed: API error \(status 4(?!08)\d\d\)",
        "Datadog refused to create the shared link",
        f"{DATADOG}/fwprovider/resource_datadog_secure_embed_dashboard.go, Create",
    ),
    KnownError(
        r"can't be created: (Datadog at \S+ (refused: 4\d\d |is busy \(429 )|\S+ doesn't answer as |export )",
        "Datadog refused to create the public link, or wasn't asked",
        "https://docs.datadoghq.com/api/latest/dashboards/#create-a-shared-dashboard",
    ),
)
"""Errors of a create that leave nothing new in Datadog."""

KEPT = KnownError(
    r"^(?:1 error occurred:\s+\* )?creating urn:",
    "the object was created and is in the state, but something failed afterwards",
    "https://github.com/pulumi/pulumi-terraform-bridge/blob/v3.135.0/pkg/tfbridge/provider.go, Create",
)
"""How an error of a create begins if the state has recorded the new object."""

DUPLICATE = KnownError(
    r"Duplicate of an existing monitor_id:\d+",
    "the monitor exists: an earlier create, whose answer was lost, has succeeded",
    "https://github.com/DataDog/terraform-provider-datadog/issues/1739",
)


def reason(error: str) -> str:
    """Cut a command's error down to its reason, without the command and its output.

    Source: https://github.com/pulumi/pulumi-command/blob/v1.2.1/provider/pkg/provider/remote/commandOutputs.go

    >>> reason('Process exited with status 1: running "echo EOF; exit 1":\\nEOF\\n')
    'Process exited with status 1'
    """
    return error.partition(': running "')[0]


def was_cut_off(error: str) -> bool:
    """Return whether a command over SSH was cut off.

    >>> was_cut_off('EOF: running "true":\\n'), was_cut_off('Process exited with status 1: running "true":\\nEOF\\n')
    (True, False)
    """
    return any(re.fullmatch(words.pattern, reason(error), re.DOTALL) for words in CUT_OFF)


def may_have_created(error: str) -> bool:
    """Return whether a create that failed with ``error`` may still have created its object in Datadog.

    >>> may_have_created('error creating monitor (url.Error): Post "https://api.datadoghq.com/api/v1/monitor": EOF')
    True
    >>> may_have_created("error creating monitor from /api/v1/monitor: 403 Forbidden: {}")
    False
    """
    if re.search(DUPLICATE.pattern, error):
        return True
    return not any(re.search(words.pattern, error) for words in (*REFUSED, KEPT))
