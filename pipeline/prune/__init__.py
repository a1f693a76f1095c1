"""Prune: what runs have left and nobody needs any more. Each module finds it by one rule; nothing else of a record is ever removed."""
