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
RUN /opt/ledger/bin/python -m compileall -q -j 0 /opt/ledger

FROM python:3.13-slim
COPY --from=build /opt/ledger /opt/ledger
RUN useradd --system --no-create-home --uid 10001 ledger
ENV PATH=/opt/ledger/bin:$PATH \
    PYTHONPATH=/opt/ledger/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0
WORKDIR /opt/ledger/app
USER 10001
EXPOSE 8000
# A part's own check; compose names the part, and a container by itself is the API.
ENV LEDGER_PART=api
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
  CMD ["sh", "-c", "exec python -m api.cli ready \"$LEDGER_PART\""]
ENTRYPOINT ["python", "-m", "api.cli"]
CMD ["api"]
