# One image for all parts; which one a container runs is its command.

FROM python:3.13-slim AS build
COPY requirements.lock /build/
RUN python -m venv /opt/ledger \
 && /opt/ledger/bin/python -m pip install --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: \
      --requirement /build/requirements.lock \
 && /opt/ledger/bin/python -m pip uninstall --yes --quiet pip
# The bytecode is made here, because the running container cannot write any.
COPY ledger /opt/ledger/app/ledger
COPY projections /opt/ledger/app/projections
COPY processors /opt/ledger/app/processors
COPY api /opt/ledger/app/api
COPY pyproject.toml /opt/ledger/app/
# `docker compose exec api payment-ledger status`
RUN printf '#!/bin/sh\nexec /opt/ledger/bin/python -m api.cli "$@"\n' > /opt/ledger/bin/payment-ledger \
 && chmod 755 /opt/ledger/bin/payment-ledger
RUN /opt/ledger/bin/python -m compileall -q -j 0 /opt/ledger

FROM python:3.13-slim
COPY --from=build /opt/ledger /opt/ledger
# In the data directory, only the folder of noted heads is used. A new volume on it takes over its owner.
RUN useradd --system --no-create-home --uid 10001 ledger \
 && install --directory --owner=ledger --mode=0700 /var/lib/ledger /var/lib/ledger/heads
ENV PATH=/opt/ledger/bin:$PATH \
    PYTHONPATH=/opt/ledger/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    LEDGER_DATA_DIR=/var/lib/ledger
WORKDIR /opt/ledger/app
USER 10001
EXPOSE 8000
# A part's own check; compose names the part, and a container by itself is the API.
ENV LEDGER_PART=api
# A check takes 0.3 s of processor time for the API and 0.4 s for a worker, so it is not made more often.
HEALTHCHECK --interval=20s --timeout=5s --start-period=30s --retries=3 \
  CMD ["sh", "-c", "exec payment-ledger ready \"$LEDGER_PART\""]
ENTRYPOINT ["payment-ledger"]
CMD ["api"]
