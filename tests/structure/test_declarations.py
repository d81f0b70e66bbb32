"""Each fact is declared in one place: events, and how they are read.

Each rule is a small function that finds offenders in source text. A test shows it catching one before
the tree is held to it.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

import ledger.domain.events
from ledger.domain.events import EVENT_BY_TOPIC, Event, PaymentFacts, PaymentTerms
from ledger.domain.kinds import KINDS
from ledger.store.database import BY_INDEX, DURABLE, PINNED
from tests.structure.tree import ROOT, SOURCES, named, over

# --- events ----------------------------------------------------------------------------------------------------------


def event_classes(root: type[Event] = Event) -> Iterator[type[Event]]:
    """The class of all events and every class below it that the ledger defines, shared bases too."""
    yield root
    for subclass in root.__subclasses__():
        if subclass.__module__ == ledger.domain.events.__name__:
            yield from event_classes(subclass)


EVENT_NAMES: Final = {event_class.__name__ for event_class in event_classes()}


def open_matches(source: str) -> list[str]:
    """Matches over events with a case that takes everything, or without `assert_never` at their end."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Match) and is_over_events(node)]
    return [f"line {node.lineno}: match {ast.unparse(node.subject)}" for node in found if not is_exhaustive(node)]


def is_over_events(match: ast.Match) -> bool:
    """Whether one of the cases names an event class."""
    classes = (node.cls for case in match.cases for node in ast.walk(case.pattern) if isinstance(node, ast.MatchClass))
    return any(ast.unparse(cls).split(".")[-1] in EVENT_NAMES for cls in classes)


def is_exhaustive(match: ast.Match) -> bool:
    """Whether every case names what it takes, and the last one proves to mypy that nothing is left."""
    *cases, last = match.cases
    match last:
        case ast.match_case(pattern=ast.MatchAs(pattern=None, name=str(left)), guard=None, body=[ast.Expr(value=call)]):
            return ast.unparse(call) == f"assert_never({left})" and not any(takes_all(case.pattern) for case in cases)
        case _:
            return False


def takes_all(pattern: ast.pattern) -> bool:
    """Whether a pattern takes everything, with or without a name for it."""
    match pattern:
        case ast.MatchAs(pattern=inner):
            return inner is None or takes_all(inner)
        case ast.MatchOr(patterns=patterns):
            return any(map(takes_all, patterns))
        case ast.MatchSequence(patterns=patterns):
            return all(map(takes_all, patterns))
        case _:
            return False


@over(SOURCES)
def test_a_match_over_events_names_every_event(path: Path) -> None:
    """An event that is added is an error of mypy in each reader that does not know it; none passes it over unseen."""
    assert open_matches(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "cases",
    [
        "case PaymentFailed(): f()\n case _: pass",
        "case PaymentFailed(reason='x'): f()\n case other: g(other)",
        "case PaymentFailed(): f()",
        "case PaymentFailed(): f()\n case _ if g(): pass\n case never: assert_never(never)",
        "case PaymentFailed() | _: f()",
        "case (PaymentFailed(), 'deposit'): f()\n case (_, _): pass\n case never: assert_never(never)",
        "case events.PaymentEnded(): f()\n case _: pass",
        "case PaymentFailed(): f()\n case never if g(): assert_never(never)",
        "case PaymentFailed(): f()\n case never: assert_never(event)",
    ],
)
def test_a_match_that_passes_events_over_is_found(cases: str) -> None:
    """With or without a guard, a name or a pair around it."""
    assert open_matches(f"match event:\n {cases}") == ["line 1: match event"]


@pytest.mark.parametrize(
    "cases",
    [
        "case PaymentFailed(reason=reason): f()\n case PaymentFailed(): pass\n case never: assert_never(never)",
        "case (PaymentFailed(), _): f()\n case never: assert_never(never)",
        "case 'deposit': f()\n case _: pass",
        "case ast.Match(): f()\n case _: pass",
    ],
)
def test_a_match_that_names_what_it_takes_is_left_alone(cases: str) -> None:
    """And so is one over something else."""
    assert open_matches(f"match event:\n {cases}") == []


def test_every_event_class_is_registered() -> None:
    """A class with a topic that is in no union could be written and never be read."""
    with_topic = {event_class for event_class in event_classes() if "TOPIC" in vars(event_class)}

    assert with_topic == set(EVENT_BY_TOPIC.values())
    assert len(with_topic) == len({event_class.TOPIC for event_class in with_topic})


# --- the facts of a payment ------------------------------------------------------------------------------------------


def restated_facts(source: str) -> list[str]:
    """Classes that declare, as fields of their own, three or more of the facts that `PaymentFacts` has for all."""
    facts = {name for name in PaymentFacts.__struct_fields__ if name != "currency"}
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and len(facts & fields_of(node)) >= 3 and node.name != PaymentTerms.__name__
    ]


def fields_of(node: ast.ClassDef) -> set[str]:
    """The fields that a class declares itself."""
    targets = (statement.target for statement in node.body if isinstance(statement, ast.AnnAssign))
    return {target.id for target in targets if isinstance(target, ast.Name)}


WITH_FACTS_OF_THEIR_OWN: Final = {"Asked"}
"""The demo gateway's record of a call: it stands for somebody else's program, and knows what it was sent."""


@over(SOURCES)
def test_the_facts_of_a_payment_are_declared_once(path: Path) -> None:
    """Every class that tells of a payment inherits them, so that a new fact is added in one place."""
    assert set(restated_facts(path.read_text("utf-8"))) <= WITH_FACTS_OF_THEIR_OWN


@pytest.mark.parametrize(
    "fields",
    [
        "payment_id: int\n account_id: int\n kind: str\n amount_minor: int\n fee_minor: int\n currency: str",
        "kind: str\n amount_minor: int\n x: int\n fee_minor: int = 0",
    ],
)
def test_a_class_that_declares_the_facts_again_is_found(fields: str) -> None:
    """All of them or some."""
    assert restated_facts(f"class Row(NamedTuple):\n {fields}") == ["Row"]


def test_a_class_that_inherits_the_facts_is_left_alone() -> None:
    """And so is one that names the payment that it is about, and no more."""
    source = "class Row(PaymentFacts):\n series: int\n\nclass Held:\n payment_id: int\n amount_minor: int"

    assert restated_facts(source) == []


# --- kinds of payment ------------------------------------------------------------------------------------------------

SPELL_KINDS: Final = ("ledger/domain/kinds.py", "api/resources/", "api/views/", "api/openapi/")
"""Where the names of kinds are spelt: the table, and the HTTP contract."""


def named_kinds(source: str) -> list[str]:
    """Where a source names a kind of payment by a literal."""
    return [
        f"line {node.lineno}: {node.value!r}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and node.value in KINDS
    ]


@over([path for path in SOURCES if not named(path).startswith(SPELL_KINDS)])
def test_a_kind_of_payment_is_named_in_its_table_only(path: Path) -> None:
    """Each difference between kinds is a column there, so a new kind is a row and needs no search through all rules."""
    assert named_kinds(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = 1 if payment.kind == 'deposit' else 2",
        "match event:\n case PaymentRequested(kind='withdraw'): pass",
        "request(command, 'deposit')",
        "Kind = Literal['deposit', 'both']",
        "x = {'withdraw': 1}",
    ],
)
def test_a_kind_that_is_named_elsewhere_is_found(source: str) -> None:
    """In a comparison, a pattern, an argument, a type, a key."""
    assert len(named_kinds(source)) == 1


def test_words_about_kinds_are_left_alone() -> None:
    """Docstrings, names of counters, and constants that only look alike."""
    source = '"""A deposit."""\nx = "payments_deposit_total"\ndeposit = KINDS[kind]\ny = [b"deposit", 1]'

    assert named_kinds(source) == []


# --- the largest exact whole number ----------------------------------------------------------------------------------

SPELL_THE_BOUND: Final = ("ledger/domain/money.py", "api/cli/")
"""Where 2^53 is spelt: once, and as long as the command line has not followed there."""


def spelt_bounds(source: str) -> list[str]:
    """Where a source spells 2^53 or the number below it, instead of `EXACT_MAX` or a name made from it."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Constant) and node.value in {2**53, 2**53 - 1})
        or (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Pow | ast.LShift)
            and ast.unparse(node.right) == "53"
        )
    ]


@over([path for path in SOURCES if not named(path).startswith(SPELL_THE_BOUND)])
def test_the_largest_exact_number_is_spelt_once(path: Path) -> None:
    """Ids, balances, cursors and the gateways of the simulators are bounded by one constant."""
    assert spelt_bounds(path.read_text("utf-8")) == []


@pytest.mark.parametrize("source", ["x = 2**53 - 1", "x = (1 << 53) - 1", "x = f(9007199254740991)", "x = 1 + 2**53"])
def test_a_bound_that_is_spelt_elsewhere_is_found(source: str) -> None:
    """However it is written."""
    assert len(spelt_bounds(source)) == 1


# --- session settings ------------------------------------------------------------------------------------------------

SHARED_SETTINGS: Final = {*DURABLE, *BY_INDEX, *PINNED}


def restated_settings(source: str) -> list[str]:
    """Server settings that a part sets by their names although `ledger.store.database` has them with their reasons."""
    keys = (key for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict) for key in node.keys)
    return [key.value for key in keys if isinstance(key, ast.Constant) and key.value in SHARED_SETTINGS]


NO_SESSIONS_OF_A_PART: Final = {"ledger/store/database.py", "api/runtime/embedded_postgres/server_settings.py"}
"""Where the shared settings are declared, and where the embedded server has its own, for all sessions."""


@over([path for path in SOURCES if named(path) not in NO_SESSIONS_OF_A_PART])
def test_what_all_sessions_ask_for_is_declared_once(path: Path) -> None:
    """A part takes the settings by what they are for, and sets by name what only it needs."""
    assert restated_settings(path.read_text("utf-8")) == []


def test_a_setting_that_is_set_again_is_found() -> None:
    """Among the settings that are a part's own."""
    assert restated_settings("S = {**BY_INDEX, 'lock_timeout': '1s', 'enable_seqscan': 'off'}") == ["enable_seqscan"]


# --- this file -------------------------------------------------------------------------------------------------------


def test_the_rules_are_held_over_something() -> None:
    """A rule that finds nothing to judge would hold nothing to anything."""
    over_events = [path for path in SOURCES if any(map(is_over_events, matches(path)))]

    assert {path.relative_to(ROOT).parts[0] for path in over_events} >= {"ledger", "projections"}
    assert len(EVENT_NAMES) > 10


def matches(path: Path) -> Iterator[ast.Match]:
    """The match statements of a file."""
    return (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Match))


def test_this_file_has_no_rule_without_an_offender() -> None:
    """Each function that judges is called by a test of offenders, too."""
    source = Path(__file__).read_text("utf-8")
    judges: list[Callable[..., object]] = [open_matches, restated_facts, named_kinds, spelt_bounds]
    judges += [restated_settings]

    assert [judge.__name__ for judge in judges if source.count(f"{judge.__name__}(") < 3] == []
