"""The library's stock recorder, as a program: it saves new aggregates one after the other from 8 threads.

After a warm-up of a second it prints how many it saves per second. Its tables are in a schema of their own.
"""

import sys
import threading
import time
from typing import Final
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from psycopg.conninfo import conninfo_to_dict

THREADS: Final = 8
WARM_UP_SECONDS: Final = 1.0


def main() -> None:
    """Save for so many seconds, in the database of the URL."""
    url, seconds = sys.argv[1], float(sys.argv[2])
    place = conninfo_to_dict(url)
    application = Application[UUID](
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": str(place["dbname"]),
            "POSTGRES_HOST": str(place["host"]),
            "POSTGRES_PORT": str(place.get("port", 5432)),
            "POSTGRES_USER": str(place["user"]),
            "POSTGRES_PASSWORD": str(place.get("password", "")),
            "POSTGRES_SCHEMA": "stock",
            "POSTGRES_POOL_SIZE": str(THREADS),
        }
    )
    saved = [0] * THREADS
    over = threading.Event()

    def save(number: int) -> None:
        while not over.is_set():
            application.save(Aggregate())
            saved[number] += 1

    threads = [threading.Thread(target=save, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(WARM_UP_SECONDS)
    before, began = sum(saved), time.monotonic()
    time.sleep(seconds)
    rate = (sum(saved) - before) / (time.monotonic() - began)
    over.set()
    for thread in threads:
        thread.join()
    application.close()
    sys.stdout.write(f"{rate}\n")


if __name__ == "__main__":
    main()
