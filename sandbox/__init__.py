"""The sandbox: a machine, a Datadog account and a Pulumi engine, without having any of them.

Each part is a stand-in or runs the real program locally, and says which. The program itself (``__main__.py``,
``components/``, ``files/``) never imports from here.
"""
