# One image for every service of docker-compose.yml. See docs/docker.md.
ARG BASE=python:3.11-slim-bookworm

# --- what pyproject.toml asks for: its other changes install nothing anew
FROM ${BASE} AS requirements
COPY pyproject.toml deploy/requirements.py /tmp/
RUN python3 /tmp/requirements.py torch /tmp/pyproject.toml > /tmp/torch.txt \
 && python3 /tmp/requirements.py others /tmp/pyproject.toml > /tmp/others.txt

# --- everything that comes from elsewhere
FROM ${BASE} AS dependencies
ENV PATH=/opt/tacet/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Where torch comes from, unless its wheel lies in deploy/wheels. Its CPU build spares gigabytes
# of CUDA.
ARG TORCH_FROM="--index-url https://download.pytorch.org/whl/cpu"
COPY deploy/wheels/ /tmp/wheels/
COPY --from=requirements /tmp/torch.txt /tmp/others.txt /tmp/
RUN python3 -m venv /opt/tacet \
 && { if ls /tmp/wheels/torch-*.whl 2>/dev/null; \
      then pip install --no-deps --no-index --find-links /tmp/wheels --requirement /tmp/torch.txt; \
      else false; fi \
   || pip install --no-deps ${TORCH_FROM} --requirement /tmp/torch.txt \
   || { echo "no torch from '${TORCH_FROM}': put its wheel into deploy/wheels (docs/docker.md)"; false; }; } \
 && pip install --find-links /tmp/wheels --requirement /tmp/torch.txt --requirement /tmp/others.txt

# --- the app as a package, for the `tacet` command
FROM dependencies AS package
COPY pyproject.toml README.md LICENSE /src/
COPY app /src/app
COPY conf /src/conf
COPY privacy /src/privacy
COPY strategies /src/strategies
COPY workloads /src/workloads
COPY tasks /src/tasks
RUN pip wheel --no-deps --find-links /tmp/wheels --wheel-dir /tmp/tacet /src

# --- what runs
FROM ${BASE} AS tacet
# Of the user in the containers, who writes the run folder on the host.
ARG UID=1000
COPY --from=dependencies /opt/tacet /opt/tacet
COPY --from=package /tmp/tacet /tmp/tacet
# A new volume takes its owner from the folder that it is mounted on.
RUN /opt/tacet/bin/pip install --no-index --no-deps --no-cache-dir /tmp/tacet/*.whl \
 && useradd --uid ${UID} --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tacet \
 && install -d -o tacet -g tacet -m 0700 /node /superlink /operator \
    /hospitals /hospitals/a /hospitals/b /hospitals/c /hospitals/d
COPY --from=package /src /app
COPY deploy/*.py deploy/*.sh deploy/*.toml deploy/*.yaml /app/deploy/
ENV PATH=/opt/tacet/bin:$PATH \
    HOME=/tmp FLWR_HOME=/tmp/flwr PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 \
    FLWR_DISABLE_UPDATE_CHECK=1 FLWR_TELEMETRY_ENABLED=0
USER tacet
WORKDIR /app
