"""Writes what is installed and under which licences: `python bill_of_materials.py requirements.lock FOLDER`.

`sbom.cdx.json` is a bill of materials in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), `licences.txt` the list
for people. Names and versions are the lock's, licences those that the installed packages declare. Two runs of one lock
write the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;]+)")


@dataclass(frozen=True, slots=True)
class Package:
    """One line of the lock; `licence` is empty where the package declares none, or is not installed."""

    name: str
    version: str
    licence: str


def packages(lock: str) -> list[Package]:
    """Every package that a lock pins."""
    pins = filter(None, map(PIN.match, lock.splitlines()))
    return [Package(pin["name"], pin["version"], licence(pin["name"])) for pin in pins]


def licence(name: str) -> str:
    """What a package declares: its licence expression, or else its classifiers, or else the first line of its text.

    Where it declares none of these, the title of the licence file that it brings.
    """
    try:
        declared = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    if declared["License-Expression"]:
        return str(declared["License-Expression"])
    lines = [line for line in declared.get_all("Classifier") or [] if line.startswith("License :: OSI Approved :: ")]
    if lines:
        return " AND ".join(line.rpartition(" :: ")[2] for line in lines)
    return str(declared["License"] or _licence_text(name)).strip().partition("\n")[0]


def _licence_text(name: str) -> str:
    files = [file for file in metadata.files(name) or [] if "licenses" in file.parts]
    return files[0].read_text() if files else ""


def cyclonedx(found: list[Package]) -> dict[str, Any]:
    """The bill of materials as CycloneDX has it."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "headrace"}},
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{package.name}@{package.version}",
                "name": package.name,
                "version": package.version,
                "purl": f"pkg:pypi/{package.name}@{package.version}",
                "licenses": [{"license": {"name": package.licence}}] if package.licence else [],
            }
            for package in found
        ],
    }


def main(lock: Path, folder: Path) -> None:
    """Write both files."""
    found = packages(lock.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(json.dumps(cyclonedx(found), indent=2) + "\n")
    lines = [f"{package.name} {package.version}: {package.licence or 'not declared'}" for package in found]
    (folder / "licences.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(found)} packages: {folder}/sbom.cdx.json, {folder}/licences.txt")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: bill_of_materials.py LOCK FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
