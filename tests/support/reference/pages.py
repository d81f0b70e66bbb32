"""Which pages are generated, and from what."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ledger.store.database import Database
from tests.support.reference.commands import commands_page
from tests.support.reference.errors import errors_page, health_page
from tests.support.reference.events import events_page
from tests.support.reference.life import life_sections
from tests.support.reference.markdown import between
from tests.support.reference.rooms import rooms_sections
from tests.support.reference.routes import routes_page
from tests.support.reference.sqlstates import sqlstates_sections
from tests.support.reference.tables import tables_page

CHECKOUT: Final = Path(__file__).resolve().parents[3]
DOCS: Final = CHECKOUT / "docs"
TABLES: Final = DOCS / "reference/tables.md"
LIFE: Final = DOCS / "internals/life-of-a-payment.md"
ARCHITECTURE: Final = DOCS / "internals/architecture.md"
SESSIONS: Final = DOCS / "internals/sessions.md"

PAGES: Final[Mapping[Path, Callable[[], str]]] = {
    DOCS / "reference/commands.md": commands_page,
    DOCS / "reference/errors.md": errors_page,
    DOCS / "reference/events.md": events_page,
    DOCS / "reference/health.md": health_page,
    DOCS / "reference/routes.md": routes_page,
    LIFE: lambda: with_sections(LIFE.read_text("utf-8"), life_sections()),
    ARCHITECTURE: lambda: with_sections(ARCHITECTURE.read_text("utf-8"), rooms_sections()),
    SESSIONS: lambda: with_sections(SESSIONS.read_text("utf-8"), sqlstates_sections()),
}
"""Every page that needs no database to be written."""


def with_sections(text: str, sections: Mapping[str, str]) -> str:
    """Put generated sections between their markers in a page that is written by hand."""
    for name, section in sections.items():
        before, _, after = between(text, name)
        text = f"{before}\n{section}\n{after}"
    return text


def write_pages(database: Database) -> list[Path]:
    """Write every page that differs from its source, and give its path. The database must be freshly migrated."""
    written = []
    texts = {path: make() for path, make in PAGES.items()} | {TABLES: tables_page(database)}
    for path, text in texts.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            written.append(path)
    return written
