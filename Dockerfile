# The key service and the demo API from this repository: `docker build --target keyservice .` or `--target demo`.
FROM python:3.13-slim-bookworm AS build
WORKDIR /source
RUN python -m venv /opt/keygauge
COPY constraints.txt LICENSE ./
COPY instrumentation instrumentation
COPY keyservice keyservice
RUN /opt/keygauge/bin/pip install --no-cache-dir -c constraints.txt "./instrumentation[otlp,prometheus]" ./keyservice

FROM build AS build-demo
COPY dashboards dashboards
COPY demo demo
RUN /opt/keygauge/bin/pip install --no-cache-dir -c constraints.txt ./dashboards "./keyservice[embedded]" ./demo

FROM python:3.13-slim-bookworm AS run
ENV PATH=/opt/keygauge/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home keygauge \
    && install --directory --owner keygauge --mode 0700 /var/lib/keygauge
WORKDIR /var/lib/keygauge
USER 10001

FROM run AS keyservice
COPY --from=build /opt/keygauge /opt/keygauge
CMD ["keygauge", "serve", "--host", "0.0.0.0", "--port", "8080"]

FROM run AS demo
COPY --from=build-demo /opt/keygauge /opt/keygauge
CMD ["uvicorn", "--factory", "keygauge_demo.service:create_service", "--host", "0.0.0.0", "--port", "8000", "--no-access-log"]
