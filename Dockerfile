# The reference application's daemons; docker-compose.yml says which one a container runs.
FROM python:3.11-slim

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY busredis ./busredis
RUN pip install --no-cache-dir '.[fast]'

COPY handlers ./handlers
COPY snapshots ./snapshots
RUN useradd --no-create-home busredis
USER busredis

ENV PYTHONUNBUFFERED=1 PYTHONPATH=/app
ENTRYPOINT ["busredis"]
CMD ["--help"]
