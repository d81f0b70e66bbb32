"""`dlq`: dead letters are listed, shown, sent to the gateway again, and resolved."""

import json

import pytest

from ledger.audit.verify import verify_store
from ledger.domain.identifiers import without_salt
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell, declined_deposit, project


def test_a_dead_letter_is_found_shown_and_sent_to_the_gateway_again(
    shell: Shell, database: Database, writer: Writer
) -> None:
    """With who did it and why, in the payment's history for good."""
    payment_id = declined_deposit(writer)
    project(database)

    listed = json.loads(shell.run("dlq", "list", "--json").stdout)
    others = json.loads(shell.run("dlq", "list", "--state", "in_doubt", "--json").stdout)
    table = shell.run("dlq", "list").stdout
    requeued = shell.run("dlq", "requeue", str(payment_id), "--why", "it was down", "--by", "Ada", "--json")
    shown = json.loads(shell.run("dlq", "show", str(payment_id), "--json").stdout)
    told = shell.run("dlq", "show", str(payment_id)).stdout

    assert [(letter["payment_id"], letter["amount"], letter["state"]) for letter in listed] == [(1, 200, "failed")]
    assert others == []
    assert "200.00 USD" in table
    assert requeued.returncode == 0
    assert json.loads(requeued.stdout) == {"payment_id": payment_id, "state": "processing", "replayed": False}
    last = shown["events"][-1]
    assert (last["topic"], last["by"], last["data"]["why"]) == ("payment.requeued", "Ada", "it was down")
    assert without_salt(last["data"]["gateway_key"]) == "payment-1-2"
    assert last["data"]["asks_first"]
    assert "payment.requeued" in told


def test_a_gateway_that_cannot_be_asked_is_called_at_once(shell: Shell, writer: Writer) -> None:
    """It declined the first call, so the series has a key of its own."""
    payment_id = declined_deposit(writer)

    shell.run("dlq", "requeue", str(payment_id), "--why", "again", "--by", "Ada", GATEWAY_INQUIRY="false")
    shown = json.loads(shell.run("dlq", "show", str(payment_id), "--json").stdout)

    requeued = shown["events"][-1]["data"]
    assert (without_salt(requeued["gateway_key"]), requeued.get("asks_first")) == ("payment-1-2", None)


def test_what_the_gateway_did_beside_the_end_is_booked_and_gateway_clearing_is_zero(
    shell: Shell, database: Database, writer: Writer
) -> None:
    """The second payout stands in suspense, with who booked it and why; the trial balance and the audit agree."""
    payment_id = declined_deposit(writer)
    decided = ("--why", "the bank has sent it back", "--by", "Ada")

    against = ("dlq", "adjust", str(payment_id), "--against", "suspense")
    booked = shell.run(*against, *decided, "--json")
    keyless = shell.run(*against, *decided)
    project(database)
    sums = json.loads(shell.run("audit", "trial-balance", "--json").stdout)["currencies"][0]
    back = shell.run(*against, "--idempotency-key", "8", "--direction", "out", "--amount", "200", *decided)
    project(database)
    sums_then = json.loads(shell.run("audit", "trial-balance", "--json").stdout)["currencies"][0]
    shown = json.loads(shell.run("dlq", "show", str(payment_id), "--json").stdout)["events"]

    assert json.loads(booked.stdout) == {"payment_id": payment_id, "state": "adjusted", "replayed": False}
    assert keyless.returncode == 1
    assert "needs an idempotency key" in keyless.stderr
    assert back.returncode == 0
    assert [(each["gateway_clearing"], each["suspense"]) for each in (sums, sums_then)] == [(200, -200), (0, 0)]
    assert (shown[-1]["topic"], shown[-1]["by"]) == ("payment.adjusted", "Ada")
    assert verify_store(database).errors == []


@pytest.mark.parametrize("amount", ["-5", "1,5", "x"])
def test_an_amount_that_is_none_is_not_booked(shell: Shell, writer: Writer, amount: str) -> None:
    """The command says what it takes."""
    payment_id = declined_deposit(writer)

    refused = shell.run(
        "dlq", "adjust", str(payment_id), "--against", "account", f"--amount={amount}", "--why", "w", "--by", "Ada"
    )

    assert refused.returncode == 2
    assert "plain decimal number" in refused.stderr


def test_a_dead_letter_is_resolved(shell: Shell, database: Database, writer: Writer) -> None:
    """`failed` closes a failed letter, and then there is none."""
    payment_id = declined_deposit(writer)

    resolved = shell.run("dlq", "resolve", str(payment_id), "--outcome", "failed", "--why", "known", "--by", "Ada")
    project(database)
    listed = shell.run("dlq", "list")

    assert resolved.returncode == 0
    assert resolved.stdout == (
        f"The gateway gave no clear answer: connection_refused.\nPayment {payment_id} is now failed.\n"
    )
    assert "No dead letters" in listed.stdout


def test_a_decision_given_again_with_its_key_is_carried_out_once(shell: Shell, writer: Writer) -> None:
    """As after a command whose connection was lost at the commit."""
    payment_id = declined_deposit(writer)
    words = ("dlq", "requeue", str(payment_id), "--why", "again", "--by", "Ada", "--idempotency-key", "decision-1")

    ended = [shell.run(*words), shell.run(*words), shell.run(*words, "--json")]

    assert [each.returncode for each in ended] == [0, 0, 0]
    assert ended[0].stdout == f"Payment {payment_id} is now processing.\n"
    assert ended[1].stdout == f"Payment {payment_id} became processing when this key was used before.\n"
    assert json.loads(ended[2].stdout) == {"payment_id": payment_id, "state": "processing", "replayed": True}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "1025"], 1, "There is no such payment"),
        (["requeue", "1025", "--why", "x", "--by", "y"], 1, "There is no such payment"),
        (["requeue", "1", "--why", " ", "--by", "y"], 2, "--why"),
        (["requeue", "1", "--why", "x"], 2, "--by"),
        (["requeue", "1", "--why", "x", "--by", "y", "--idempotency-key", "é"], 2, "--idempotency-key"),
        (["requeue", "0", "--why", "x", "--by", "y"], 2, "0"),
        (["resolve", "1", "--outcome", "maybe", "--why", "x", "--by", "y"], 2, "maybe"),
    ],
)
def test_a_decision_that_cannot_be_is_refused_with_a_sentence(
    shell: Shell, words: list[str], code: int, said: str
) -> None:
    """1 when the ledger refuses, 2 when the command is wrong."""
    ended = shell.run("dlq", *words)

    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
