"""The dashboard is one of Grafana's schema, as far as Grafana's own SDK describes it."""

import json
import typing
from typing import Any, Final

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from tests.support.services import CHECKOUT

DASHBOARD: Final = CHECKOUT / "deploy/grafana/payment-ledger.json"

plugins.register_default_plugins()


def read() -> dict[str, Any]:
    """The dashboard as JSON."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return found


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """The places of a document that another one does not have, or has with another value."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [
            place
            for name, value in given.items()
            for place in ([f"{path}.{name}"] if name not in kept else lost(value, kept[name], f"{path}.{name}"))
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [place for n, pair in enumerate(zip(given, kept, strict=True)) for place in lost(*pair, f"{path}[{n}]")]
    return [] if given == kept else [path]


def mistyped(made: object, path: str = "") -> list[str]:
    """The places of an object of the SDK whose plain values do not have the types that it declares."""
    if isinstance(made, list):
        return [place for n, each in enumerate(made) for place in mistyped(each, f"{path}[{n}]")]
    hints = typing.get_type_hints(type(made)) if hasattr(made, "to_json") else {}
    found = []
    for name, hint in hints.items():
        value = getattr(made, name)
        allowed = {hint, *typing.get_args(hint)}
        if isinstance(value, str | bool | int | float) and allowed & {str, bool, int, float}:
            fits = type(value) in allowed or (type(value) is int and float in allowed)
            found += [] if fits else [f"{path}.{name}"]
        else:
            found += mistyped(value, f"{path}.{name}")
    return found


def wrong_with(dashboard: dict[str, Any]) -> list[str]:
    """The places at which a dashboard is not one of the schema: unknown fields, and values of another type."""
    made = Dashboard.from_json(dashboard)
    return sorted({*lost(dashboard, json.loads(JSONEncoder().encode(made))), *mistyped(made)})


def test_the_dashboard_is_of_the_schema() -> None:
    """No field is unknown to Grafana, in the options of panels and the queries of Prometheus too."""
    assert wrong_with(read()) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda board: board.update(titel="x"), ".titel"),
        (lambda board: board.update(title=5), ".title"),
        (lambda board: board.update(editable="yes"), ".editable"),
        (lambda board: board["panels"][0].update(titel="x"), ".panels[0].titel"),
        (lambda board: board["panels"][0].update(title=5), ".panels[0].title"),
        (lambda board: board["panels"][0]["gridPos"].update(w="wide"), ".panels[0].grid_pos.w"),
        (lambda board: board["panels"][0]["options"].update(nonsense=1), ".panels[0].options.nonsense"),
        (lambda board: board["panels"][0]["targets"][0].update(exprr="up"), ".panels[0].targets[0].exprr"),
        (lambda board: board["panels"][0]["targets"][0].update(expr=1), ".panels[0].targets[0].expr"),
    ],
)
def test_a_mistake_is_found(change: Any, place: str) -> None:
    """At the place of the document, or of the SDK's object."""
    board = read()

    change(board)

    assert wrong_with(board) == [place]


def test_every_panel_is_of_a_kind_that_the_sdk_knows() -> None:
    """The options of an unknown kind would be taken as they are."""
    panels = Dashboard.from_json(read()).panels or []

    assert panels
    for panel in panels:
        assert isinstance(panel, Panel)
        assert panel.type_val in {"stat", "timeseries", "table", "gauge", "bargauge"}
        assert not isinstance(panel.options, dict), panel.title
