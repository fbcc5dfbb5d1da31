"""Watchpost's components, and the functions that they are made of.

- On a host, below ``watched_host``: ``host`` (with ``vagrant``), ``agent``, ``mysql``, ``custom_check`` and
  ``traced_app``. ``remote`` runs their steps, rendered by ``step_command``; ``arrival`` checks that data arrives.
- In Datadog: ``timeboards``, ``monitors``, ``downtimes``, ``sharing`` (with ``public_dashboard``) and
  ``customer_experience``, all with one ``provider`` and ``datadog_context``. ``ownership`` tags their objects, and
  removes ``orphans`` through ``datadog_api``.
- Plain functions: ``links``, ``recurrences``, ``downtime_names``, ``customer_signals``, ``customer_tickets``,
  ``templates`` over ``files/``.
- For Pulumi's quirks: ``plugin_errors``, ``ordering``.
"""
