"""The list of components says what the lock file installs, as CycloneDX has it."""

import importlib.util
import json
import re
from types import ModuleType
from typing import Any, Final

import pytest

from tests.structure.tree import ROOT

SBOM: Final = ROOT / "sbom.cdx.json"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """Give the program that writes the list."""
    spec = importlib.util.spec_from_file_location("sbom", ROOT / ".ci/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Give the list as it is kept."""
    found: dict[str, Any] = json.loads(SBOM.read_text("utf-8"))
    return found


def test_the_list_is_what_follows_from_the_lock_file(program: ModuleType) -> None:
    """After a change of the lock file, `make sbom` writes it again."""
    assert SBOM.read_text("utf-8") == program.text()


def test_every_locked_package_is_listed_with_its_version_and_hashes(document: dict[str, Any]) -> None:
    """This counts by a second look at the lock file, which shares nothing with the program."""
    lock = (ROOT / "requirements-run.lock").read_text("utf-8")
    pinned = [line.split("==", 1) for line in lock.splitlines() if "==" in line and line[0] != " "]
    locked = {name.split("[")[0]: rest.split()[0] for name, rest in pinned}
    hashes = [each["content"] for component in document["components"] for each in component["hashes"]]

    assert {each["name"]: each["version"] for each in document["components"]} == locked
    assert sorted(hashes) == sorted(re.findall("--hash=sha256:([0-9a-f]{64})", lock))


def test_every_component_can_be_reached_from_the_service(document: dict[str, Any]) -> None:
    """A package that nothing needs would be a mistake in the lock file or in the graph."""
    needs = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    reached, left = set[str](), ["payment-ledger"]
    while left:
        reached.add(ref := left.pop())
        left += [other for other in needs[ref] if other not in reached]

    assert reached == {"payment-ledger", *(each["bom-ref"] for each in document["components"])}


def test_the_form_is_that_of_cyclonedx(document: dict[str, Any]) -> None:
    """The fields that its schema requires, and references that are given once."""
    refs = [each["bom-ref"] for each in document["components"]]

    assert (document["bomFormat"], document["specVersion"], document["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", document["serialNumber"])
    assert len(refs) == len(set(refs))
    assert all({"type", "name"} <= set(each) for each in document["components"])
