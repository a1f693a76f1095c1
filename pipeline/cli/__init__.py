"""The command line: one small file per family of commands. Parse, call, print; nothing is decided here."""
