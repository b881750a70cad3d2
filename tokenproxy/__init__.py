"""A local reverse proxy that injects and refreshes access tokens."""

__version__ = "0.1.0"
