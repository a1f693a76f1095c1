"""Run an application's functions on this machine: from a template and the images that were built of it to running containers.

`functions` reads what a function is configured to be, `images` finds its image in the engine, `runner` runs it in a pool of
`stages.runtime`; `lambda_api` and `http_api` serve it as Lambda, and as API Gateway and function URLs do.
docs/how-to/run-locally.md is for users, docs/reference/lambda-runtime.md says what is as on Lambda and what is not.
"""
