"""A stand-in for Pulumi's datadog plugin 5.17: the resource types that Watchpost uses.

Bodies, defaults, states and errors are those observed of the real plugin, or else its documentation's. An unknown type
or property is an error.
"""
