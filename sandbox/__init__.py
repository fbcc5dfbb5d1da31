"""The sandbox: a machine, a Datadog and a Pulumi for those who have none at hand.

Every part here is a stand-in or starts a real thing locally; each says which. The program itself
(``__main__.py``, ``components/``, ``files/``) never imports from here.
"""
