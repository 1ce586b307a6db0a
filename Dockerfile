# The image of one service:  docker build --build-arg SERVICE=collateral_management --tag ballast/collateral-management .
# `make images` builds all six. Parameters (config/*.yaml) are no part of an image: they are mounted.

# A Debian with Python 3.11 and its venv module.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG SERVICE
WORKDIR /build
COPY requirements.lock pyproject.toml buf.yaml ./
COPY tools/__init__.py tools/proto.py tools/
COPY tools/images/pins.py tools/images/
COPY proto proto
# The secret "ca", where a network needs one, is the certificates that pip trusts; it leaves no trace in a layer.
RUN --mount=type=secret,id=ca \
    set -eu; \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ONLY_BINARY=:all: PIP_REQUIRE_HASHES=1 PIP_NO_DEPS=1; \
    python3 tools/images/pins.py "${SERVICE}" > service.lock; \
    python3 tools/images/pins.py --own-only build > build.lock; \
    python3 -m venv tooling; \
    python3 -m venv --without-pip /ballast; \
    tooling/bin/pip install --no-compile -r build.lock; \
    tooling/bin/pip --python /ballast/bin/python install --no-compile -r service.lock; \
    tooling/bin/pip --python /ballast/bin/python check; \
    tooling/bin/python -m tools.proto
COPY libs /build/libs
COPY services/__init__.py /build/services/
COPY services/${SERVICE} /build/services/${SERVICE}
COPY data /build/data
# Shapes of kernels only: parameters are mounted.
COPY config /build/config
COPY tools/images/assemble.sh tools/images/start.sh tools/images/
RUN sh tools/images/assemble.sh "${SERVICE}"

FROM ${BASE_IMAGE}
ARG SERVICE
# No package installer stays, whether the base brought it as pip or as ensurepip's wheels.
RUN rm -rf /usr/lib/python3*/ensurepip /usr/lib/python3/dist-packages/pip* /usr/share/python-wheels \
        /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/* /usr/local/bin/pip* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ballast
COPY --from=build /ballast /ballast
ENV PYTHONPATH=/ballast/app:/ballast/app/gen \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/tmp \
    BALLAST_CONFIG_DIRECTORY=/etc/ballast/config
ENV NUMBA_CACHE_DIR=${TMPDIR}/numba
LABEL org.opencontainers.image.title="ballast ${SERVICE}" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /ballast/app
ENTRYPOINT ["/ballast/bin/start"]
