# The site alone; its servers are elsewhere (docker-compose.yml, config/deploy/kubernetes).
# The version that the gate runs (docs/testing.md).
FROM python:3.11-slim AS packages
COPY requirements.txt ./
COPY requirements-otel.txt ./
# docker build --build-arg OTEL=1: with the packages that OTEL_EXPORTER_OTLP_ENDPOINT needs.
ARG OTEL=""
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt ${OTEL:+-r requirements-otel.txt}

FROM python:3.11-slim
# A number, not a name: Kubernetes can then see that it is not root (runAsNonRoot).
RUN groupadd --gid 10001 trilith && useradd --uid 10001 --gid trilith --no-create-home trilith && \
    install --directory --owner=trilith --group=trilith --mode=0700 /spool /metrics /slots
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ACTIVITY_SPOOL_DIR=/spool PROMETHEUS_MULTIPROC_DIR=/metrics CACHE_SLOTS_DIR=/slots \
    WEB_CPU_PINNING=false
COPY --from=packages /venv /venv
WORKDIR /app
COPY manage.py ./
COPY config ./config
COPY cachelayer ./cachelayer
COPY notes ./notes
COPY profiles ./profiles
COPY activity ./activity
USER 10001:10001
EXPOSE 8000
# Events that wait for MongoDB outlive the container.
VOLUME /spool
HEALTHCHECK --interval=10s --timeout=10s --start-period=20s --retries=6 \
    CMD python manage.py health_check ready "127.0.0.1:${PORT:-8000}"
CMD ["python", "-m", "config.stack.site"]
