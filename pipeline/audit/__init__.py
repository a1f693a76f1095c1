"""Audit: whether what a store holds is what was written into it, and what that proves. No network, no engine, no writing."""
