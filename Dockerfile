# syntax=docker/dockerfile:1

# Build: wheels of the product and of all it needs, installed into a folder that is copied as it is.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY destinations ./destinations
COPY configs ./configs
RUN python -m pip wheel --no-cache-dir --disable-pip-version-check --quiet --wheel-dir /wheels '.[geo]'
RUN python -m venv /opt/tagway \
    && /opt/tagway/bin/python -m pip install --no-cache-dir --disable-pip-version-check --quiet --no-index --find-links /wheels 'tagway[geo]'

# Run: no compiler, no source, no root. Everything but /data may be read-only (`docker run --read-only`).
FROM python:3.13-slim-bookworm
LABEL org.opencontainers.image.title="Tagway" \
      org.opencontainers.image.description="Server-side tagging gateway that accounts for every event" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/tagway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN groupadd --system --gid 10001 tagway \
    && useradd --system --uid 10001 --gid tagway --home-dir /data --no-create-home --shell /usr/sbin/nologin tagway \
    && install --directory --owner=tagway --group=tagway --mode=0700 /data
COPY --from=build /opt/tagway /opt/tagway
USER 10001:10001
# From here `configs/gateway.yaml` is /configs/gateway.yaml, and its `queue.path: ../data` the volume.
WORKDIR /
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["tagway"]
CMD ["serve"]
