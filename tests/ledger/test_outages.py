"""Which errors of an outage get a line."""

from ledger.outages import LineBudget, Outage, OutageNews


def test_an_outage_is_told_at_its_begin_every_ten_seconds_and_at_its_end() -> None:
    """A minute of an error every tenth of a second is eight lines."""
    outage = Outage()

    told = [news for tenth in range(601) if (news := outage.failed(tenth / 10)) is not None]
    end = outage.worked(60.5)

    assert [news.phase for news in told] == ["began", *["goes_on"] * 6]
    assert [news.errors for news in told] == [1, 101, 201, 301, 401, 501, 601]
    assert end == OutageNews("ended", 601, 60.5)


def test_errors_with_successes_between_them_are_no_outage() -> None:
    """One call in four fails, and nobody speaks of an outage."""
    outage = Outage(errors_min=10)

    told = [outage.worked(n) if n % 4 else outage.failed(n) for n in range(1_000)]

    assert told == [None] * 1_000
    assert not outage.is_on


def test_few_errors_are_an_outage_when_nothing_works_for_long() -> None:
    """A gateway that is called once in three seconds can be away, too."""
    outage = Outage(errors_min=10, seconds_min=10.0)

    told = [outage.failed(n * 3.0) for n in range(5)]

    assert told == [None, None, None, None, OutageNews("began", 5, 12.0)]


def test_a_success_without_an_outage_is_no_news() -> None:
    """A second success after an outage is none either."""
    outage = Outage()
    outage.failed(0.0)

    assert [outage.worked(1.0), outage.worked(2.0)] == [OutageNews("ended", 1, 1.0), None]


def test_a_budget_counts_the_lines_that_it_refused() -> None:
    """The first line after the pause has their number."""
    budget = LineBudget(lines_max=2, every_seconds=10.0)

    asked = [budget.take(now) for now in (0.0, 1.0, 2.0, 9.9, 10.0, 10.1, 10.2)]

    assert asked == [0, 0, None, None, 2, 0, None]
