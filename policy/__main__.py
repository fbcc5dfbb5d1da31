"""The policy pack: the rules of ``rules.py``, all mandatory, for `pulumi preview` and `pulumi up`."""

import inspect
from functools import partial

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)
from rules import RULES, Rule, host_keys_are_checked

ACCEPTED = PolicyConfigSchema(
    properties={"accepted": {"type": "array", "items": {"type": "string"}, "default": []}},
)
"""Addresses of machines whose host key is deliberately not checked."""


def validate(rule: Rule, args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Report the violations of ``rule`` by a resource."""
    options = {"accepted": args.get_config().get("accepted", [])} if rule is host_keys_are_checked else {}
    for violation in rule(args.resource_type, args.props, **options):
        report(violation)


PolicyPack(
    name="watchpost",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[
        ResourceValidationPolicy(
            name=rule.__name__.replace("_", "-"),
            description=inspect.getdoc(rule).partition("\n")[0],
            validate=partial(validate, rule),
            config_schema=ACCEPTED if rule is host_keys_are_checked else None,
        )
        for rule in RULES
    ],
)
