"""The rules of structure are applied to files that exist."""

from tests.structure.tree import BENCHMARKS, IMPORTABLE, MIGRATIONS, SOURCES, STATEMENTS, TESTS, named


def test_the_rules_are_applied_to_files() -> None:
    """A rule over a glob that matches nothing would check nothing."""
    assert len(SOURCES) > 100
    assert len(BENCHMARKS) > 20
    assert len(STATEMENTS) > 20
    assert len(MIGRATIONS) >= 5
    assert len(TESTS) > 150
    assert {named(path).split("/")[0] for path in SOURCES} == set(IMPORTABLE)
