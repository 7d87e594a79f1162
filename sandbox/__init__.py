"""Stand-in servers for the external systems, on loopback, with invented persons.

The product never imports this package: it speaks to it over HTTP only.
"""
