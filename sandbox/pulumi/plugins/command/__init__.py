"""A stand-in for Pulumi's command plugin: ``remote.Command``, ``remote.CopyToRemote`` and ``local.Command``.

It does what the real plugin 1.2.1 does, over a real SSH library, except for asset and archive outputs of local
commands. Run by the engine as ``python -m sandbox.pulumi.plugins.command``.
Source: https://github.com/pulumi/pulumi-command
"""
