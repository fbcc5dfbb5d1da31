"""A stand-in for Pulumi's datadog plugin 5.17: the four resource types that Watchpost uses.

Bodies, defaults, states and errors are those that the real plugin was seen to send, keep and show; where it was not
seen, its documentation decides. An unknown type or property is an error.
"""
