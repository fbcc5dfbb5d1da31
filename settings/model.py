"""Every setting's type and allowed values; descriptions and defaults are in ``Pulumi.yaml``."""

import contextlib
import ipaddress
import math
import os
import re
from collections.abc import Sized
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from settings import agent_options, sites
from settings.office_hours import DAYS, OfficeHours
from settings.project import key
from settings.sites import Site

MOST_STEPS = 8
"""Most steps of a customers' journey."""

RESERVED_TICKET_FIELDS = ("version", "action", "key", "monitor", "cycle", "scope", "at", "tell")
"""Fields of the generic ticket by which its receiver decides what to do; ``ticketFields`` can't replace them."""

BURN_RATES = {7: (16.8, 5.6), 30: (14.4, 6.0), 90: (21.6, 10.8)}
"""Burn rates of an SLO's fast and slow alert, by its days.

Source: https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/#examples
"""

LEAST_POINTS = 2
"""Fewest points in the monitor's window: with fewer, the monitor reports no data most of the time."""


def _matching(pattern: str, allowed: str, longest: int) -> AfterValidator:
    """Validate a string against ``pattern``; the error shows the description ``allowed`` instead of the pattern."""

    def check(value: str) -> str:
        if len(value) > longest or not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"must be {allowed}, at most {longest} characters")
        return value

    return AfterValidator(check)


def _clock(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00", value):
        raise ValueError("must be a time of day as HH:MM, from 00:00 to 24:00")
    return time.fromisoformat(value.replace("24:", "00:"))


def _former_switch(value: object) -> object:
    """Take what version 1.0 took: true shared an embed; and YAML 1.1 reads `no` as false."""
    return {"true": "embed", "false": "no"}.get(str(value).lower(), value)


INTEGRATIONS = (
    "case", "eventbridge", "google-chat", "hangouts", "incident", "jira", "oncall", "opsgenie", "pagerduty",
    "servicenow", "slack", "sns", "splunk-oncall", "team", "teams", "victorops", "webhook", "workflow",
    "xmatters", "zendesk",
)  # fmt: skip
"""The prefixes of handles that aren't e-mail addresses.

Sources: https://docs.datadoghq.com/monitors/notify/#configure-notifications-and-automations,
https://docs.datadoghq.com/api/latest/incidents/#create-global-incident-handle (``incident-sev-1``)
"""


def mentionable(value: str) -> str:
    """Return a recipient without its @: an e-mail address, or an integration's handle such as ``slack-ops``.

    Raises:
        ValueError: it is neither, or contains characters special to Datadog.
    """
    handle = value.removeprefix("@")
    # Braces, blanks and commas are special in Datadog's templates and mentions.
    address = r"[A-Za-z0-9._%+-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}"
    integration = rf"({'|'.join(INTEGRATIONS)})-[\w.-]*\w|pagerduty|opsgenie|victorops|all"
    if len(handle) > 254 or not re.fullmatch(f"{address}|{integration}", handle):
        raise ValueError(
            "must be an e-mail address such as you@example.com, or a handle that begins with one of "
            + ", ".join(f"{name}-" for name in INTEGRATIONS)
        )
    return handle


def _stack_name(value: str) -> str:
    if not re.fullmatch(r"([\w.-]+/){0,2}[\w.-]{1,100}", value, re.ASCII):
        raise ValueError("must be the name of a stack, such as organization/watchpost/datadog")
    return value


def _web_address(value: str) -> str:
    """Validate an address that is trusted with a root script or an API key."""
    allowed = "must be an https:// address without a user in it (http:// only for a private IP address)"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
        private = bool(re.fullmatch(r"[0-9.]+|[0-9a-f:]+", host)) and ipaddress.ip_address(host).is_private
    except ValueError:
        raise ValueError(allowed) from None
    secure = parts.scheme == "https" or (parts.scheme == "http" and private)
    if not host or not secure or not re.fullmatch(r"[!-?A-~]+", value):
        raise ValueError(allowed)
    return value


def _pages_address(value: str) -> str:
    """Validate the address of Datadog's pages, to which the links' paths are appended."""
    address = _web_address(value)
    if address.rstrip("/").count("/") > 2 or set(address) & {"?", "#"}:
        raise ValueError("must be an address without a path, such as https://acme.datadoghq.com")
    return address.rstrip("/")


def _network_address(value: str) -> str:
    """Validate an address for SSH: a name, an IPv4 address, or an IPv6 address, optionally with brackets and a zone.

    Source: https://www.rfc-editor.org/rfc/rfc4007#section-11 (``fe80::1%eth0``)
    """
    bare = value.removeprefix("[").removesuffix("]") if value.startswith("[") else value
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(bare)
        return bare
    if len(value) > 253 or not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?", value):
        port = "; a port is the setting `port`" if re.fullmatch(r"(\[.*\]|[^:]*):[0-9]+", value) else ""
        raise ValueError(f"must be a host name or IP address, such as 203.0.113.10 or 2001:db8::10{port}")
    return value


def _private_key(text: str) -> None:
    """Refuse what is no private key for sure; the rest is left to the command plugin.

    Sources: https://man.openbsd.org/sshd.8#AUTHORIZED_KEYS_FILE_FORMAT (a public key),
    https://the.earth.li/~sgtatham/putty/0.83/htmldoc/AppendixC.html (PuTTY's)
    """
    if re.match(r"\s*(ssh|ecdsa|sk)-\S+ ", text):
        raise ValueError("must be the private key, and not the public one (.pub)")
    if text.startswith("PuTTY-User-Key-File"):
        raise ValueError("must be a key in OpenSSH's form, which PuTTYgen exports, and not in PuTTY's")


def _private_key_itself(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if re.fullmatch(r"[~/.][^\n]*", text):
        raise ValueError("must be the key itself; the path of its file is the setting `privateKeyFile`")
    _private_key(text)
    return value


LOCAL_NAMES = ("localhost", "localhost.localdomain", "localhost6.localdomain6", "ip6-localhost")
"""Names that the Agent rejects as host names, since every machine has them."""


def _host_name(value: str) -> str:
    """Validate a host name as the Agent does; with an invalid one it would report under the machine's own name.

    Refusing capitals is Watchpost's own rule: Datadog's tags are lowercase, and a query with capitals finds nothing.
    Source: ``ValidHostname`` in pkg/util/hostname/validate/validate.go of https://github.com/DataDog/datadog-agent
    """
    if value in LOCAL_NAMES:
        raise ValueError("must be a name of its own: every machine calls itself that, and the Agent refuses it")
    label = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    if len(value) > 255 or not re.fullmatch(rf"({label}\.)*{label}", value):
        raise ValueError(
            "must be a host name of small letters, digits and inner hyphens, with single dots between its parts,"
            " at most 255 characters: the Agent takes no other"
        )
    return value


# Datadog converts other characters to underscores and capitals to lowercase, after which nothing would match.
# Source: https://docs.datadoghq.com/getting_started/tagging/#define-tags
TagValue = Annotated[
    str,
    _matching(
        r"(?!.*__)[a-z0-9]([a-z0-9_./-]*[a-z0-9])?",
        "small letters, digits, and single . _ - / between them",
        100,
    ),
]
Tag = Annotated[
    str,
    _matching(
        r"(?!.*__)[a-z]([a-z0-9_./-]*[a-z0-9])?:[a-z0-9]([a-z0-9_.:/-]*[a-z0-9])?",
        "key:value in small letters, digits, and single . _ - / between them",
        200,
    ),
]
HostName = Annotated[str, AfterValidator(_host_name)]
# Directory services have names that useradd refuses: jane.doe, DOMAIN\\jane, jane@example.com.
UserName = Annotated[
    str, _matching(r"[A-Za-z0-9_][A-Za-z0-9_.@\\+-]*\$?", "the name of a user without blanks and quotes", 256)
]
Version = TagValue
AgentVersion = Annotated[str, _matching(r"(7\.[0-9]+\.[0-9]+)?", "a version of Agent 7 such as 7.78.4", 20)]
HostKey = Annotated[
    str,
    _matching(
        r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp[0-9]+) [A-Za-z0-9+/=]+( [^\n]*)?",
        "a public host key such as `ssh-keyscan -t ed25519 ADDRESS` prints, without the address",
        2000,
    ),
]
NetworkAddress = Annotated[str, AfterValidator(_network_address)]
Secret = Annotated[SecretStr, Field(strict=True)]
PrivateKey = Annotated[Secret, AfterValidator(_private_key_itself)]
Sha256 = Annotated[
    str, _matching(r"([0-9a-f]{64})?", "a SHA-256 as `sha256sum` prints it: 64 of the digits 0-9 and a-f", 64)
]
BoxName = Annotated[str, _matching(r"[\w.-]+(/[\w.-]+)?", "the name of a Vagrant box such as bento/ubuntu-24.04", 100)]
Recipient = Annotated[str, AfterValidator(mentionable)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
# The Agent appends its paths, which begin with a slash, to the address as it is.
AddressOrNone = Annotated[str, AfterValidator(lambda value: _web_address(value).rstrip("/") if value else value)]
Clock = Annotated[time, BeforeValidator(_clock)]
Weekday = Literal["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


class _Model(BaseModel):
    # `pulumi config set --path` stores a text of digits as a number.
    # Source: ``adjustObjectValue`` in sdk/go/common/resource/config/object.go of https://github.com/pulumi/pulumi
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, coerce_numbers_to_str=True
    )


class VagrantSettings(_Model):
    """A Vagrant VM that the stack creates and destroys. ``memory`` is in MiB."""

    box: BoxName = "bento/ubuntu-24.04"
    memory: Annotated[int, Field(ge=512)] = 2048
    cpus: Annotated[int, Field(ge=1, le=64)] = 2


class LoginSettings(_Model):
    """How to log in over SSH: ``address``, ``user``, one authentication method, and the machine's host key."""

    address: NetworkAddress | None = None
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: UserName | None = None
    private_key: PrivateKey | None = None
    private_key_file: Path | None = None
    private_key_password: Secret | None = None
    agent: bool = False
    host_key: HostKey | None = None
    accept_any_host_key: bool = False

    @field_validator("private_key_file")
    @classmethod
    def _file_holds_a_key(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        try:
            path = value.expanduser()
            if not path.is_file():
                raise FileNotFoundError
            _private_key(path.read_text())
        except PermissionError:
            raise ValueError("must be the path of a private key's file that you may read") from None
        except (OSError, RuntimeError):
            raise ValueError("must be the path of a private key's file; no file is there") from None
        except UnicodeDecodeError:
            raise ValueError("must be the path of a private key's file; what is there is no text") from None
        return path

    def _missing_for_login(self, instead: str = "") -> list[str]:
        """List the settings missing for a login; ``instead`` names an alternative to address and user."""
        lacks = [f"needs `{name}`{instead}" for name in ("address", "user") if not getattr(self, name)]
        if sum(map(bool, (self.private_key, self.private_key_file, self.agent))) != 1:
            lacks.append("needs one of `privateKey` (as a secret), `privateKeyFile` and `agent: true`")
        if self.agent and not os.environ.get("SSH_AUTH_SOCK"):
            lacks.append("has `agent: true`, but no SSH agent runs here (SSH_AUTH_SOCK is not set)")
        if not self.host_key and not self.accept_any_host_key:
            lacks.append(
                "needs `hostKey`, so that no other machine can pose as this one"
                f" (`ssh-keyscan -t ed25519 -p {self.port} {self.address or 'ADDRESS'}` prints it),"
                " or `acceptAnyHostKey: true`"
            )
        return lacks

    def key(self) -> str | None:
        """Return the private key to log in with; ``None`` if the SSH agent holds it."""
        if self.private_key_file:
            return self.private_key_file.read_text()
        return self.private_key.get_secret_value() if self.private_key else None

    @property
    def password(self) -> str | None:
        """The passphrase of the private key; ``None`` if it has none."""
        return self.private_key_password.get_secret_value() if self.private_key_password else None


class ProxySettings(LoginSettings):
    """A bastion (jump host) through which another machine is reached."""

    @model_validator(mode="after")
    def _one_login_method(self) -> Self:
        if lacks := self._missing_for_login():
            raise ValueError("; ".join(lacks))
        return self


class HostSettings(LoginSettings):
    """One machine: reached over SSH, optionally through ``proxy``, or a Vagrant VM."""

    vagrant: VagrantSettings | None = None
    proxy: ProxySettings | None = None

    @field_validator("vagrant", mode="before")
    @classmethod
    def _switch(cls, value: object) -> object:
        return {"true": {}, "false": None}.get(str(value).lower(), value)

    @model_validator(mode="after")
    def _one_login_method(self) -> Self:
        if self.vagrant:
            extra = sorted(to_camel(name) for name in self.model_fields_set - {"vagrant"})
            if extra:
                raise ValueError(f"a Vagrant VM provides these itself; leave out {', '.join(extra)}")
        elif lacks := self._missing_for_login(", or `vagrant: true`"):
            raise ValueError("; ".join(lacks))
        return self


Pseudonym = Annotated[str, _matching(r"[0-9a-f]{16}", "a customer's pseudonym, 16 of the digits 0-9 and a-f", 16)]
Percent = Annotated[int, Field(ge=1, le=100)]


class JourneyStep(_Model):
    """One step of the customers' journey: the value of its spans' ``journey.step``, its objective in milliseconds."""

    name: TagValue
    objective: Annotated[int, Field(ge=1, le=3_600_000)]


class Rehearsal(_Model):
    """Trouble that the load generator's customers meet at one step of the traced app's journey.

    ``share`` is the percentage of each tier's customers who meet it, ``seconds`` by how much their orders are slow.
    """

    step: Literal["place", "pay", "prepare", "deliver"]
    trouble: Literal["slow", "error"] = "slow"
    share: Percent = 10
    seconds: Annotated[float, Field(gt=0, le=10)] = 3.0


class CustomerExperience(_Model):
    """What the Proactive Customer Experience System promises, to whom, and where its tickets go.

    ``tiers`` are the values of the spans' ``customer.tier``, the best first. In ``care_tiers`` every customer is
    watched individually, or only ``customers`` if there are any. ``docs/customer-experience.md`` explains each setting.
    """

    enabled: bool = False
    service: TagValue | None = None
    tiers: tuple[TagValue, ...] = ("gold", "silver", "bronze")
    care_tiers: tuple[TagValue, ...] = ("gold",)
    max_customers: Annotated[int, Field(ge=1, le=500)] = 50
    customers: tuple[Pseudonym, ...] = ()
    steps: tuple[JourneyStep, ...] = (
        JourneyStep(name="place", objective=1000),
        JourneyStep(name="pay", objective=2000),
        JourneyStep(name="prepare", objective=2000),
        JourneyStep(name="deliver", objective=3000),
    )
    error_rate: Percent = 30
    anomaly_bounds: Annotated[int, Field(ge=2, le=10)] = 4
    minimum_orders: Annotated[int, Field(ge=2, le=1000)] = 2
    window_minutes: Annotated[int, Field(ge=6, le=60)] = 15
    platform_share: Annotated[int, Field(ge=10, le=60)] = 40
    platform_orders: Annotated[int, Field(ge=1, le=100_000)] = 20
    slo_days: Literal[7, 30, 90] = 30
    slo_target: Annotated[float, Field(lt=100)] = 99.0
    ticket_system: Literal["generic", "jira", "zendesk", "servicenow"] = "generic"
    ticket_url: AddressOrNone = ""
    ticket_close_url: AddressOrNone = ""
    ticket_fields: dict[str, Any] = {}
    ticket_token: Secret | None = None
    ticket_mention: Annotated[str, AfterValidator(lambda value: mentionable(value) if value else value)] = ""
    runbook_url: AddressOrNone = ""
    tell_again_minutes: Annotated[int, Field(ge=15, le=10_080)] = 240
    tell_in_office_hours: bool = True
    rehearsal: Rehearsal | None = None
    key_rotation: Annotated[str, _matching(r"[A-Za-z0-9:.+-]*", "a date or another short text", 40)] = ""

    @field_validator("slo_days", mode="before")
    @classmethod
    def _number_of_days(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @field_validator("slo_target")
    @classmethod
    def _has_burn_rates(cls, value: float, info: ValidationInfo) -> float:
        # Sources: https://docs.datadoghq.com/service_management/service_level_objectives/metric/ (decimals),
        # https://docs.datadoghq.com/service_management/service_level_objectives/burn_rate/#maximum-burn-rate-values
        days = info.data.get("slo_days")
        if days and (100 - value) * max(BURN_RATES[days]) > 100:
            least = math.ceil(10 * (100 - 100 / max(BURN_RATES[days]))) / 10
            raise ValueError(
                f"must be at least {least:g} with sloDays {days}: even if every order failed, a lower one wouldn't"
                f" reach the burn rate that is alerted on ({max(BURN_RATES[days]):g}), which Datadog refuses"
            )
        if round(value, 3) != value:
            raise ValueError("must have at most three decimals, as Datadog keeps them")
        return value

    @field_validator("tiers", "care_tiers", "customers")
    @classmethod
    def _no_duplicates(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        most = 5 if info.field_name == "tiers" else None
        if len(set(value)) < len(value):
            raise ValueError("must not contain duplicates")
        if (not value and info.field_name != "customers") or (most and len(value) > most):
            raise ValueError(f"must have 1 to {most} entries" if most else "must have at least one entry")
        return value

    @field_validator("care_tiers")
    @classmethod
    def _are_tiers(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        tiers = info.data.get("tiers")
        if tiers and (unknown := [tier for tier in value if tier not in tiers]):
            raise ValueError(f"must be among the tiers ({', '.join(tiers)}), and not {', '.join(unknown)}")
        return value

    @field_validator("customers")
    @classmethod
    def _within_the_limit(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        most = info.data.get("max_customers")
        if most and len(value) > most:
            raise ValueError(
                f"must list at most maxCustomers ({most}) customers, and not {len(value)}: each costs custom metrics"
            )
        return value

    @field_validator("steps")
    @classmethod
    def _few_different_steps(cls, value: tuple[JourneyStep, ...]) -> tuple[JourneyStep, ...]:
        # A composite monitor has at most 10 constituents; the platform's has one for each step and one for the traffic.
        # Source: https://docs.datadoghq.com/monitors/types/composite/
        if not 1 <= len(value) <= MOST_STEPS or len({step.name for step in value}) < len(value):
            raise ValueError(f"must have 1 to {MOST_STEPS} steps with different names")
        # The names of webhooks, of which two can't be the same in an organization, have none of these characters.
        if len({re.sub(r"[^a-z0-9]+", "-", step.name) for step in value}) < len(value):
            raise ValueError("must have steps whose names differ in more than . _ - / (webhooks are named after them)")
        return value

    @field_validator("ticket_fields")
    @classmethod
    def _keeps_reserved_fields(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        taken = [name for name in RESERVED_TICKET_FIELDS if name in value]
        if taken and info.data.get("ticket_system") == "generic":
            raise ValueError(f"must leave out {', '.join(taken)}, by which the ticket's receiver decides what to do")
        return value

    @field_validator("ticket_token")
    @classmethod
    def _is_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        # It is part of a header, and of the JSON that holds it: a line break or a quote would end either.
        found = value.get_secret_value().strip() if value else None
        if found is not None and not re.fullmatch(r"[!#-\[\]-~]+( [!#-\[\]-~]+)?", found):
            raise ValueError(
                "must be a token, or a scheme and a token such as `Basic dXNlcjpwYXNz`, of letters, digits and signs"
                " without line breaks, quotes and backslashes"
            )
        return SecretStr(found) if found else None

    @model_validator(mode="after")
    def _tickets_go_somewhere(self) -> Self:
        if self.enabled and not (self.ticket_url or self.ticket_mention):
            raise ValueError(
                "needs `ticketUrl`, the address that opens tickets, or `ticketMention`, such as case-PROJECT or"
                " workflow-NAME"
            )
        if self.ticket_token and not self.ticket_url:
            raise ValueError("has a `ticketToken` and no `ticketUrl` to send it to")
        return self

    @property
    def close_url(self) -> str:
        """Where recoveries are sent; not to the address at which a ticket system's own API opens tickets."""
        return self.ticket_close_url or (self.ticket_url if self.ticket_system == "generic" else "")


class Settings(_Model):
    """All settings of a stack, validated in field order: a validator may read the fields above its own."""

    part: Literal["all", "datadog", "hosts"]
    datadog_stack: Annotated[str, AfterValidator(lambda value: _stack_name(value) if value else value)]
    hosts: dict[HostName, HostSettings]
    recipients: tuple[Recipient, ...]
    env: TagValue
    tags: tuple[Tag, ...]
    site: Site
    app_url: Annotated[str, AfterValidator(lambda value: _pages_address(value) if value else value)]
    timezone: str
    office_start: Clock
    office_end: Clock
    office_days: tuple[Weekday, ...]
    window_minutes: Annotated[int, Field(ge=1, le=720)]
    warning_threshold: Annotated[int, Field(ge=0, le=1000)]
    alert_threshold: Annotated[int, Field(ge=0, le=1000)]
    no_data_minutes: Annotated[int, Field(ge=2, le=1440)]
    check_interval: Annotated[int, Field(ge=1, le=3600)]
    service: TagValue
    version: Version
    app_port: Annotated[int, Field(ge=1024, le=65535)]
    load_requests: Annotated[int, Field(ge=0, le=1_000_000)]
    load_concurrency: Annotated[int, Field(ge=1, le=1000)]
    agent_version: AgentVersion
    install_script_url: WebAddress
    install_script_sha256: Sha256
    agent_url: AddressOrNone
    trace_url: AddressOrNone
    agent_config: dict[str, Any]
    on_destroy: Literal["clean", "leave"]
    share_dashboards: Annotated[Literal["no", "public", "embed"], BeforeValidator(_former_switch)]
    customer_experience: CustomerExperience | None
    repairs: dict[str, Annotated[str, _matching(r"[A-Za-z0-9:.+-]*", "a date and time", 40)]]

    @field_validator("app_url")
    @classmethod
    def _default_app_url(cls, value: str, info: ValidationInfo) -> str:
        return value or sites.app_url(str(info.data.get("site")))

    @field_validator("hosts", "recipients")
    @classmethod
    def _not_empty(cls, value: Sized, info: ValidationInfo) -> Sized:
        needless = {"hosts": "datadog", "recipients": "hosts"}.get(str(info.field_name))
        if not value and info.data.get("part") != needless:
            raise ValueError("must have at least one entry")
        return value

    @field_validator("hosts")
    @classmethod
    def _vm_names_fit_hostname(cls, value: dict[str, HostSettings]) -> dict[str, HostSettings]:
        # Vagrant sets this as the machine's host name, which has at most 64 characters: hostname(7).
        if long := [name for name, machine in value.items() if machine.vagrant and len(name) > 64]:
            raise ValueError(f"must name Vagrant VMs with at most 64 characters: {', '.join(long)} is longer")
        return value

    @field_validator("tags")
    @classmethod
    def _no_reserved_tag(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if reserved := [tag for tag in value if tag.split(":")[0] in ("env", "host", "service", "version")]:
            raise ValueError(
                f"must leave out {', '.join(reserved)}: host, env, service and version are settings of their own"
            )
        return value

    @field_validator("agent_config")
    @classmethod
    def _no_managed_option(cls, value: dict[str, Any]) -> dict[str, Any]:
        own = {
            "api_key": "datadog:apiKey",
            "dd_url": key("agentUrl"),
            "env": key("env"),
            "hostname": f"the host's name in {key('hosts')}",
            "hostname_force_config_as_canonical": "needed for that name",
            "site": key("site"),
            "tags": key("tags"),
        }
        if twice := [f"{option} ({own[option]})" for option in own if option in value]:
            raise ValueError(f"must leave out what is a setting of its own: {', '.join(twice)}")
        if mistaken := {option: meant for option in value if (meant := agent_options.nearest(option))}:
            names = ", ".join(f"`{option}` (`{meant}` is one)" for option, meant in mistaken.items())
            raise ValueError(
                f"must contain only options that the Agent knows, not {names}; remove it with: pulumi config rm --path"
                f" '{key('agentConfig', next(iter(mistaken)))}' (an Agent that does know it takes it from its"
                " datadog.yaml, where what stands there stays)"
            )
        return value

    @field_validator("customer_experience")
    @classmethod
    def _none_unless_enabled(cls, value: CustomerExperience | None) -> CustomerExperience | None:
        return value if value and value.enabled else None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        # A name without a region is a link to one that has it, or no place, such as Factory.
        if value == "UTC" or "/" in value:
            with contextlib.suppress(KeyError, ValueError, OSError):  # unknown; not a name; a folder
                return ZoneInfo(value).key
        raise ValueError("must be an IANA time zone such as Europe/Paris, with its region, or UTC")

    @field_validator("office_start", mode="before")
    @classmethod
    def _on_its_day(cls, value: object) -> object:
        if value == "24:00":
            raise ValueError("must be earlier than 24:00; an office that opens at midnight opens at 00:00 of that day")
        return value

    @field_validator("office_days")
    @classmethod
    def _in_order(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(day for day in DAYS if day in value)

    @field_validator("alert_threshold")
    @classmethod
    def _above_the_warning(cls, value: int, info: ValidationInfo) -> int:
        warning = info.data.get("warning_threshold")
        if warning is not None and value <= warning:
            raise ValueError(f"must be above warningThreshold ({warning})")
        return value

    @field_validator("no_data_minutes")
    @classmethod
    def _at_least_twice_the_window(cls, value: int, info: ValidationInfo) -> int:
        # Source: https://docs.datadoghq.com/monitors/configuration/#no-data
        window = info.data.get("window_minutes")
        if window and value < 2 * window:
            raise ValueError(f"must be at least twice windowMinutes (2 * {window} = {2 * window})")
        return value

    @field_validator("check_interval")
    @classmethod
    def _enough_points_in_the_window(cls, value: int, info: ValidationInfo) -> int:
        # Source: https://docs.datadoghq.com/monitors/guide/monitoring-sparse-metrics/
        window = info.data.get("window_minutes")
        if window and value * LEAST_POINTS > 60 * window:
            raise ValueError(
                f"must leave at least {LEAST_POINTS} points in the monitor's window: at most"
                f" {60 * window // LEAST_POINTS} seconds with windowMinutes {window}; with a longer window, and"
                " noDataMinutes twice that, more"
            )
        return value

    @property
    def office_hours(self) -> OfficeHours:
        """The office hours as one value."""
        return OfficeHours(start=self.office_start, end=self.office_end, days=self.office_days, timezone=self.timezone)

    @property
    def mentions(self) -> str:
        """The recipients as Datadog mentions: ``@you@example.com @other@example.com``."""
        return " ".join(f"@{recipient}" for recipient in self.recipients)
