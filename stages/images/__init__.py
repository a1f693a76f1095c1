"""Container images: the engine, build contexts, OCI layouts, registries. Identity is the digest of the config blob."""
