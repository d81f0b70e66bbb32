"""Writes `sbom.cdx.json`, the components of the service in the form of CycloneDX 1.6, from `requirements-run.lock`.

It needs no network and gives the same text for the same lock file. It lists what is installed and knows nothing about
vulnerabilities: to compare it with a database of them needs the network.
"""

import json
import re
import tomllib
import uuid
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = CHECKOUT / "requirements-run.lock"
SBOM: Final = CHECKOUT / "sbom.cdx.json"

_PACKAGE: Final = re.compile(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PARENT: Final = re.compile(r"^ +#(?: via)? +([a-z0-9._-]+)(?:\[[^\]]*\])?(?: \(pyproject\.toml\))?$")


def sbom(lock: str, project: dict[str, Any]) -> dict[str, Any]:
    """Make the document from the text of a lock file and the table `project` of pyproject.toml."""
    name, version = project["name"], project["version"]
    components: dict[str, dict[str, Any]] = {}
    needs: dict[str, set[str]] = {name: set()}
    package = ""
    for line in lock.splitlines():
        if found := _PACKAGE.match(line):
            package = found[1]
            components[package] = _component(package, found[2])
            needs.setdefault(package, set())
        elif found := _HASH.search(line):
            components[package]["hashes"].append({"alg": "SHA-256", "content": found[1]})
        elif (found := _PARENT.match(line)) and found[1] != "-c":
            needs.setdefault(found[1], set()).add(package)
    refs = {package: component["bom-ref"] for package, component in components.items()} | {name: name}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": _serial(name, version, lock),
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": name, "name": name, "version": version}},
        "components": [components[package] for package in sorted(components)],
        "dependencies": [
            {"ref": refs[package], "dependsOn": sorted(refs[other] for other in needs[package])}
            for package in sorted(refs)
        ],
    }


def _component(name: str, version: str) -> dict[str, Any]:
    """Give a package. Its hashes are those of all files that the lock file allows to be installed."""
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, "hashes": []}


def _serial(name: str, version: str, lock: str) -> str:
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name} {version} {lock}')}"


def text() -> str:
    """Give the text of the file."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))["project"]
    return json.dumps(sbom(LOCK.read_text("utf-8"), project), indent=1) + "\n"


if __name__ == "__main__":
    SBOM.write_text(text(), "utf-8")
