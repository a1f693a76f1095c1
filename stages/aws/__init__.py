"""AWS: sessions, names, and thin, retried, typed calls."""
