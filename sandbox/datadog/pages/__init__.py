"""Pages at Datadog's own paths, over what the account holds: so that every link that a stack prints opens.

They only show: nothing can be changed here, no key is needed and none is shown.
"""

from sandbox.datadog.pages.serving import OPEN, is_page, routes

__all__ = ["OPEN", "is_page", "routes"]
