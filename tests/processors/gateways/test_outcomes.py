"""Parsing a gateway's answers: a table of bodies, and the outcomes of calls and inquiries."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.gateways.outcomes import (
    FOR_ANOTHER,
    Approved,
    CallResult,
    Declined,
    GatewayAnswer,
    InquiryAnswer,
    InquiryOutcome,
    NoClearAnswer,
    NotAccepted,
    NotFound,
    Unknown,
    inquiry_outcome_of,
    outcome_of,
    read_answer,
)

NOTHING = (None, None)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"status":"ok"}', ("ok", None)),
        (b' \n{"status" : "Ok"}\r\n', ("ok", None)),
        (b'{"status":"\\tAPPROVED \\n"}', ("approved", None)),
        (b'{"status":"\\u006fk"}', ("ok", None)),
        (b'{"status":"ok","reference":"r-1","more":{"a":[1,2]}}', ("ok", "r-1")),
        (b'{"status":"ok","reference":7}', ("ok", None)),
        (b'{"status":"ok","reference":""}', ("ok", None)),
        (b'{"status":"ok","reference":"a\\u0000b"}', ("ok", None)),
        (b'{"status":"ok","reference":"\\ud800"}', ("ok", None)),
        (b'{"status":"ok","reference":"line\\nbreak"}', ("ok", None)),
        (b'{"status":"ok","reference":"' + b"x" * 300 + b'"}', ("ok", "x" * 255)),
        (b'{"Status":"ok"}', NOTHING),
        (b'{"status":["ok"]}', NOTHING),
        (b'{"status":true}', NOTHING),
        (b'{"status":null}', NOTHING),
        (b"{}", NOTHING),
        (b"", NOTHING),
        (b'"ok"', NOTHING),
        (b"ok", NOTHING),
        (b"null", NOTHING),
        (b'[{"status":"ok"}]', NOTHING),
        (b'{"status":"ok"', NOTHING),
        (b'{"status":"ok"}}', NOTHING),
        (b'{"status":"ok"}{"status":"declined"}', NOTHING),
        (b'{"status":"ok","status":"declined"}', NOTHING),
        (b'{"status":"declined","status":"ok"}', NOTHING),
        (b'{"status":"ok","st\\u0061tus":"ok"}', NOTHING),
        (b'{"status":"ok","more":{"a":1,"a":2}}', NOTHING),
        (b"{'status':'ok'}", NOTHING),
        (b'{"status":"ok","amount":NaN}', NOTHING),
        (b'{"status":"ok","amount":Infinity}', NOTHING),
        (b'{"status":"ok","n":' + b"9" * 5000 + b"}", NOTHING),
        (b'\xef\xbb\xbf{"status":"ok"}', NOTHING),
        ('{"status":"ok"}'.encode("utf-16"), NOTHING),
        ('{"status":"ok"}'.encode("utf-16-le"), NOTHING),
        ('{"status":"ok","name":"Müller"}'.encode("latin-1"), NOTHING),
        (b'{"status":"ok","x":' + b"[" * 50_000, NOTHING),
        (b'{"a":' * 12_000 + b"1" + b"}" * 12_000, NOTHING),
        (b"\x1f\x8b\x08\x00", NOTHING),
        (b"\x00" * 100, NOTHING),
        (None, NOTHING),
    ],
)
def test_a_body_is_unambiguous_or_empty(body: bytes | None, read: tuple[str | None, str | None]) -> None:
    """A body that two readers could understand differently is not understood at all."""
    said = read_answer(body)

    assert read == (said.word, said.reference)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_body_can_be_parsed(body: bytes) -> None:
    """Parsing gives a word or nothing, and never raises."""
    word = read_answer(body).word

    assert word is None or word == word.strip()


@given(
    http_status=st.integers(100, 999),
    status=st.sampled_from(["ok", "success", "approved", "declined", "pending", "timeout", "not_found", "odd", None]),
)
def test_only_a_clear_refusal_excludes_an_effect(http_status: int, status: str | None) -> None:
    """Approved needs a 2xx that says so. Declined needs a 2xx that says so, or a final 4xx."""
    heard = CallResult(elapsed_ms=1, http_status=http_status, body=json.dumps({"status": status}).encode())

    match outcome_of(heard, payment_id=1):
        case Approved():
            assert 200 <= http_status < 300
            assert status in {"ok", "success", "approved"}
        case Declined():
            assert status == "declined" or 400 <= http_status < 500
            assert http_status not in {408, 409, 425, 429}
        case NotAccepted():
            assert http_status == 429
        case Unknown():
            assert http_status in {408, 409, 425} or not 400 <= http_status < 500

    match inquiry_outcome_of(heard, payment_id=1):
        case Approved():
            assert 200 <= http_status < 300
        case Declined():
            assert status == "declined"
            assert 200 <= http_status < 300
        case NotFound():
            assert (http_status, status) == (404, "not_found")
        case NoClearAnswer():
            assert status not in {"ok", "success", "approved", "declined"} or not 200 <= http_status < 300


def test_a_refusal_of_any_size_counts() -> None:
    """A proxy's error page may be large, and its status is still a refusal. To an inquiry it gives no clear answer."""
    heard = CallResult(elapsed_ms=1, http_status=403, body=None)

    assert Declined("gateway_error_403") == outcome_of(heard, payment_id=1)
    assert NoClearAnswer("gateway_error_403") == inquiry_outcome_of(heard, payment_id=1)


def test_a_lost_answer_tells_nothing_whatever_its_status_was() -> None:
    """Half an answer proves nothing. Only a request that was never sent surely had no effect."""
    for http_status in (200, 402, 404, 429, 502):
        heard = CallResult(elapsed_ms=1, http_status=http_status, lost="timeout")
        assert Unknown("timeout") == outcome_of(heard, payment_id=1)
    refused = CallResult(elapsed_ms=1, lost="connection_refused", never_sent=True)

    assert NotAccepted("connection_refused") == outcome_of(refused, payment_id=1)
    assert NoClearAnswer("connection_refused") == inquiry_outcome_of(refused, payment_id=1)


@pytest.mark.parametrize(
    ("named", "ours"),
    [
        ("1025", True),
        ('"1025"', True),
        ("1026", False),
        ('"1026"', False),
        ("0", False),
        ('"pay-1026"', True),  # the gateway's own id for it
        ('"\u0661"', True),
        ("null", True),
        ("true", True),
        ("1026.0", True),
        ("[1026]", True),
    ],
)
@pytest.mark.parametrize(
    ("http_status", "word"), [(200, "ok"), (200, "declined"), (402, "declined"), (404, "not_found"), (429, "error")]
)
def test_an_answer_that_names_another_payment_tells_nothing(
    named: str, http_status: int, word: str, *, ours: bool
) -> None:
    """A gateway that mixes up its answers must not settle or fail the wrong payment."""
    heard = CallResult(
        elapsed_ms=1, http_status=http_status, body=f'{{"status":"{word}","payment_id":{named}}}'.encode()
    )

    told, told_by_inquiry = outcome_of(heard, payment_id=1025), inquiry_outcome_of(heard, payment_id=1025)

    assert (told == Unknown(FOR_ANOTHER)) is not ours
    assert (told_by_inquiry == NoClearAnswer(FOR_ANOTHER)) is not ours


def test_the_record_of_a_call_names_error_and_reference() -> None:
    """The history records the outcome's error and reference."""

    def call(outcome: Approved | Declined | NotAccepted | Unknown) -> tuple[str | None, str | None]:
        record = GatewayAnswer(outcome=outcome, http_status=None, answer_digest=None, elapsed_ms=1)
        return record.error, record.reference

    def inquiry(outcome: InquiryOutcome) -> tuple[str | None, str | None]:
        record = InquiryAnswer(outcome=outcome, http_status=None, answer_digest=None, elapsed_ms=1)
        return record.error, record.reference

    assert call(Approved("r")) == (None, "r")
    assert call(Declined("declined")) == ("declined", None)
    assert call(NotAccepted("gateway_error_429", 3.0)) == ("gateway_error_429", None)
    assert call(Unknown("timeout")) == ("timeout", None)
    assert inquiry(Approved("r")) == (None, "r")
    assert inquiry(NotFound()) == ("not_found", None)
    assert inquiry(NoClearAnswer("pending")) == ("pending", None)
