"""The runner: definitions, plans, runs, gates and records."""

__version__ = "0.1.0"
