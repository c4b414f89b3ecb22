# The key service and the demo API from this repository: `docker build --target keyservice .` or `--target demo`.
# Packages are checked against the hashes in locked/ (written by "make lock"), and images against their digests.
FROM python:3.13-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8 AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1
COPY locked locked
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r locked/build.txt \
    && python -m venv /opt/keygauge && /opt/keygauge/bin/pip install --require-hashes -r locked/keyservice.txt
COPY LICENSE ./
COPY instrumentation instrumentation
COPY keyservice keyservice
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels ./instrumentation ./keyservice \
    && /opt/keygauge/bin/pip install --no-index --no-deps wheels/*.whl

FROM build AS build-demo
RUN /opt/keygauge/bin/pip install --require-hashes -r locked/demo.txt
COPY dashboards dashboards
COPY demo demo
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir demo-wheels ./dashboards ./demo \
    && /opt/keygauge/bin/pip install --no-index --no-deps demo-wheels/*.whl

FROM python:3.13-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8 AS run
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
