"""The record: everything a run leaves. Chains of events, artifacts by content, and the replay that makes state of them."""
