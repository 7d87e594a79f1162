# One image for every part of Kho Chung that is ours; docker-compose.yml says which part a container plays.
# Build arguments for a server behind a proxy or a mirror: HTTP_PROXY, HTTPS_PROXY, PIP_INDEX_URL (all stay out of
# the image: packages are installed in a stage of their own).
FROM python:3.11-slim-bookworm AS packages
ARG PIP_INDEX_URL
COPY requirements-bootstrap.txt docker/requirements.lock /build/
RUN python3 -m venv /opt/venv \
 && /opt/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes --no-deps \
      -r /build/requirements-bootstrap.txt \
 && /opt/venv/bin/uv pip sync --quiet --system-certs --no-cache --compile-bytecode --python /opt/venv/bin/python \
      ${PIP_INDEX_URL:+--default-index "$PIP_INDEX_URL"} --require-hashes /build/requirements.lock

FROM python:3.11-slim-bookworm
# The numbers stand in docs/deploy.md: volumes on a file server must belong to them.
RUN groupadd --gid 10001 khochung \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin khochung \
 # A new volume takes owner and rights from the folder it is mounted on.
 && for folder in /var/lib/kho-chung /var/lib/kho-chung/open-data /var/lib/vault /run/vault /srv/nhan-tep; do \
      install -d -o khochung -g khochung -m 0755 "$folder"; done \
 && chmod 0700 /var/lib/vault
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/kho-chung
# .dockerignore lists what there is to copy.
COPY . .
# A checkout may be for its owner's eyes alone.
RUN chmod -R a+rX . && /opt/venv/bin/python -m compileall -q .
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/kho-chung \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KHOCHUNG_HOME=/var/lib/kho-chung \
    LANG=C.UTF-8 LC_ALL=C.UTF-8
USER 10001:10001
CMD ["python", "-m", "ops", "--help"]
