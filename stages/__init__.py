"""What stages do: build, package, deploy, invoke. It knows nothing of runs, gates or records."""
