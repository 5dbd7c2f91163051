# Installs exactly what requirements.lock names, then runs it as an ordinary user.
FROM node:22-slim AS looks
WORKDIR /build
COPY app/adapters/console/frontend/package.json app/adapters/console/frontend/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund

FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements-uv.lock requirements-dev.lock requirements.lock ./
RUN python -m venv /build/tools
RUN /build/tools/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-uv.lock
RUN python -m venv --without-pip /opt/scopegate
RUN /build/tools/bin/uv pip install --system-certs --python /opt/scopegate/bin/python --compile-bytecode --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY --from=looks /build/node_modules ./app/adapters/console/frontend/node_modules
RUN python app/adapters/console/frontend/build.py
COPY alembic ./alembic
COPY docs/errors ./docs/errors
RUN /build/tools/bin/uv pip install --system-certs --python /opt/scopegate/bin/python --compile-bytecode --no-deps --build-constraints requirements-dev.lock .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin scopegate
RUN mkdir -p /data
RUN chown 10001:10001 /data
COPY --from=build /opt/scopegate /opt/scopegate
ENV PATH=/opt/scopegate/bin:$PATH SCOPEGATE_HOST=0.0.0.0 SCOPEGATE_DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('SCOPEGATE_PORT', '8080') + '/livez', timeout=2)"]
CMD ["scopegate", "serve"]
