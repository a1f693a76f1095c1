"""The runtimes that a function can be begun in. What is written for one stands in `templates/functions/<name>`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Runtime:
    """A runtime. `image` is AWS's base image, `argument` the build argument of a Dockerfile that names another; `test` runs the
    unit tests where the language is installed; `ignored` are lines for .gitignore; `ecosystem` is OSV's name for its packages.
    """

    name: str
    title: str
    image: str
    argument: str
    test: str = ""
    ignored: tuple[str, ...] = ()
    ecosystem: str = ""


RUNTIMES: dict[str, Runtime] = {
    each.name: each
    for each in (
        Runtime(
            "python",
            "Python",
            "public.ecr.aws/lambda/python:3.13",
            "PYTHON_BASE",
            "python3 -m unittest",
            ("__pycache__/",),
            "PyPI",
        ),
        Runtime(
            "nodejs",
            "Node.js",
            "public.ecr.aws/lambda/nodejs:24",
            "NODEJS_BASE",
            "node --test",
            ("node_modules/",),
            "npm",
        ),
        Runtime("java", "Java", "public.ecr.aws/lambda/java:21", "JAVA_BASE", "mvn test", ("target/",), "Maven"),
        Runtime("go", "Go", "public.ecr.aws/lambda/provided:al2023", "GO_BASE", "go mod tidy && go test", (), "Go"),
        Runtime(
            "dotnet",
            ".NET",
            "public.ecr.aws/lambda/dotnet:10",
            "DOTNET_BASE",
            "dotnet test tests",
            ("bin/", "obj/"),
            "NuGet",
        ),
        Runtime(
            "ruby",
            "Ruby",
            "public.ecr.aws/lambda/ruby:3.4",
            "RUBY_BASE",
            "bundle install && bundle exec ruby test_app.rb",
            ("vendor/", ".bundle/"),
            "RubyGems",
        ),
        Runtime(
            "rust",
            "Rust",
            "public.ecr.aws/lambda/provided:al2023",
            "RUST_BASE",
            "cargo test",
            ("target/",),
            "crates.io",
        ),
        Runtime(
            "provided",
            "a shell",
            "public.ecr.aws/lambda/provided:al2023",
            "PROVIDED_BASE",
            "sh test_function.sh",
        ),
    )
}
