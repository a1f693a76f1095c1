"""Gates: what must hold before a proposal is applied. Pure rules; reading and writing is done by who calls (docs/adr/0011)."""
