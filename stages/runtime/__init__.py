"""Run a Lambda function's image on this machine: the service side of AWS's Runtime API, and a container for each environment.

    with Pool(docker.from_env(), network) as pool:
        outcome = pool.invoke(Function(name="hello", image="sha256:…", account="111122223333", region="eu-west-1"), b"{}")

An image runs unchanged: whatever speaks the Runtime API (awslambdaric, a Go or Rust binary, AWS's base images) finds it at
`AWS_LAMBDA_RUNTIME_API`. It runs as Lambda runs it: read-only but for /tmp, as a user without rights, no capabilities,
its memory bounded. docs/reference/embedded-aws.md says what is not done: extensions, response streaming, CPU shares.
"""
