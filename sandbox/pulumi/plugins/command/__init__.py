"""A stand-in for Pulumi's command plugin: ``remote.Command``, ``remote.CopyToRemote`` and ``local.Command``.

It does, over a real SSH library, what the real plugin 1.2.1 does; asset and archive outputs of local commands are left
out. Run by the engine as ``python -m sandbox.pulumi.plugins.command``.
Source: https://github.com/pulumi/pulumi-command
"""
