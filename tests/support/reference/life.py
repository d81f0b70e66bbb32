"""The generated sections of the page on the life of a payment: two state diagrams and the table of all steps."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from tests.support.reference.markdown import code, table
from tests.support.reference.states import Step, explore

NO_LETTER: Final = "none"
ORDER: Final = ("new", "processing", "in_doubt", "succeeded", "failed")


def life_sections() -> dict[str, str]:
    """Write the sections, by the names that the page's markers have."""
    steps = explore()
    return {
        "states": _diagram(steps, lambda step: (step.before, step.after)),
        "letters": _diagram(steps, lambda step: (step.letter_before or NO_LETTER, step.letter_after or NO_LETTER)),
        "steps": _table(steps),
    }


def _diagram(steps: Iterable[Step], ends: Callable[[Step], tuple[str | None, str]]) -> str:
    """Draw the steps from one state to another. Steps that change nothing stand in the table only."""
    labels: dict[tuple[str | None, str], set[str]] = defaultdict(set)
    for step in steps:
        before, after = ends(step)
        if before != after:
            labels[before, after].add(step.event.removeprefix("payment."))
    lines = [
        f"    {before or '[*]'} --> {after}: {label}"
        for (before, after), events in sorted(labels.items(), key=lambda item: (_rank(item[0][0]), _rank(item[0][1])))
        for label in _joined(events)
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


def _joined(events: set[str]) -> list[str]:
    """Name `succeeded by gateway` and `succeeded by inquiry` in one line."""
    ways: dict[str, list[str]] = defaultdict(list)
    for event in sorted(events):
        topic, _, way = event.partition(" by ")
        ways[topic].append(way)
    return [f"{topic} by {', '.join(by)}" if any(by) else topic for topic, by in ways.items()]


def _rank(state: str | None) -> tuple[int, str]:
    return ORDER.index(state) if state in ORDER else -1, state or ""


def _table(steps: Iterable[Step]) -> str:
    kinds: dict[tuple[str, str, str, str, str], set[str]] = defaultdict(set)
    for step in steps:
        letters = step.letter_before or "", step.letter_after or ""
        kinds[step.before or "", letters[0], step.event, step.after, letters[1]].add(step.kind)
    rows = [
        (code(before), code(letter), code(event), code(after), code(letter_after), ", ".join(sorted(of)))
        for (before, letter, event, after, letter_after), of in sorted(
            kinds.items(), key=lambda item: (_rank(item[0][0]), *item[0][1:])
        )
    ]
    return table(["state", "letter", "event", "state after", "letter after", "kind"], rows)
