"""Serves pages at Datadog's own paths from the account's content, so that every link that a stack prints opens.

They are read-only, need no key and show none.
"""

from sandbox.datadog.pages.serving import OPEN, is_page, missing, routes, wants_page

__all__ = ["OPEN", "is_page", "missing", "routes", "wants_page"]
