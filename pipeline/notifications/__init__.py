"""Notifications: tell somebody what has happened, after it is recorded. That it fails is told and recorded, and fails nothing else."""
