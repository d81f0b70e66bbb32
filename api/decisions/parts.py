"""The parts of one partition that decisions use: its settings, its writer and its queries, and the gateway."""

from msgspec import Struct

from api.decisions.gateway_questions import GatewayQuestions
from api.queries.history import HistoryQueries
from api.queries.pool import ReadPool
from api.settings import Settings
from ledger.partition.partition import Partition
from ledger.writer.writer import Writer


class DecidingParts(Struct, frozen=True, kw_only=True):
    """The parts that HTTP and the command line give to each decision."""

    settings: Settings
    partition: Partition
    writer: Writer
    pool: ReadPool
    history: HistoryQueries
    questions: GatewayQuestions
