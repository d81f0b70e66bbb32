"""The generated section of the page on sessions: the meaning of each class of errors."""

from ledger.sessions.sqlstates import LOST, MEANINGS, UNFORESEEN, Meaning
from tests.support.reference.markdown import code, table


def sqlstates_sections() -> dict[str, str]:
    """Write the section, by the name that the page's markers have."""
    rows = [(code(sqlstate), *_columns(meaning)) for sqlstate, meaning in sorted(MEANINGS.items())]
    rows += [("none", *_columns(LOST)), ("any other", *_columns(UNFORESEEN))]
    return {"sqlstates": table(["SQLSTATE", "meaning", "session", "batch"], rows)}


def _columns(meaning: Meaning) -> tuple[str, str, str]:
    return meaning.words, "closed" if meaning.ends_session else "kept", meaning.batch.value
