"""From nothing to a project: what a new one consists of, and how one that is there gets more. Nothing here needs a network."""
