"""Keys, envelopes and who may sign: OpenSSH's key files and allowed_signers, DSSE's envelopes (docs/adr/0010)."""
