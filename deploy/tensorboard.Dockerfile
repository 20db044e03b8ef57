# TensorBoard over the run folders, apart from Dockerfile: nothing else needs it.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
ENV PATH=/opt/tensorboard/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
COPY deploy/locks/tensorboard.txt /tmp/
RUN python3 -m venv /opt/tensorboard \
 && pip install --no-cache-dir --disable-pip-version-check --require-hashes \
      --requirement /tmp/tensorboard.txt
ARG UID=1000
USER ${UID}:${UID}
CMD ["tensorboard", "--logdir", "/runs", "--host", "0.0.0.0", "--port", "6006", "--reload_interval", "5"]
