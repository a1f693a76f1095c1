"""What we know of CI systems: which run of theirs this is, and the dress in which their logs are read."""
