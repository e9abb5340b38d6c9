"""Prints what a service needs from others: `python third_party.py PROJECT...`, the service's folder first.

An image installs these in a layer of their own, which stays as it is while the code changes. Only the `pyproject.toml`
of each folder is read, and only the standard library is needed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Project = Mapping[str, Any]

REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[(?P<extras>[^]]*)\])?")


def requirements(projects: Sequence[Project]) -> list[str]:
    """Third-party requirements of the first project, those that it has through the other projects included."""
    ours = {project["name"]: project for project in projects}
    found: set[str] = set()
    waiting = list(projects[0].get("dependencies", []))
    while waiting:
        line = waiting.pop()
        match = REQUIREMENT.match(line)
        if match is None or match["name"] not in ours:
            found.add(line)
        else:
            waiting += _asked_for(ours[match["name"]], (match["extras"] or "").split(","))
    return sorted(found)


def _asked_for(project: Project, extras: Sequence[str]) -> Iterator[str]:
    """A project's dependencies, and those of its extras; raises KeyError for an extra that it has not."""
    yield from project.get("dependencies", [])
    for extra in filter(None, map(str.strip, extras)):
        yield from project["optional-dependencies"][extra]


def main(folders: Sequence[str]) -> None:
    """Print the requirements, one a line, as pip reads them."""
    if not folders:
        sys.exit("usage: third_party.py PROJECT...: folders with a pyproject.toml, the service's first")
    projects = [tomllib.loads((Path(folder) / "pyproject.toml").read_text())["project"] for folder in folders]
    print("\n".join(requirements(projects)))


if __name__ == "__main__":
    main(sys.argv[1:])
