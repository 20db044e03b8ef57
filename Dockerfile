# One image for every service of docker-compose.yml. See docs/docker.md.
# A tag, or by its digest: image@sha256:... (docs/supply-chain.md).
ARG BASE=python:3.11-slim-bookworm

# --- everything that comes from elsewhere: what deploy/locks names, each file by its hash
FROM ${BASE} AS dependencies
ENV PATH=/opt/tacet/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Where torch comes from, unless its wheel lies in deploy/wheels. Its CPU build spares gigabytes
# of CUDA.
ARG TORCH_FROM="--index-url https://download.pytorch.org/whl/cpu"
COPY deploy/wheels/ /tmp/wheels/
COPY deploy/locks/ /tmp/locks/
# setuptools first: with it pip builds what comes as source only, instead of with a newer one that
# it would fetch.
RUN python3 -m venv /opt/tacet \
 && { if ls /tmp/wheels/torch-*.whl 2>/dev/null; \
      then pip install --require-hashes --no-deps --no-index --find-links /tmp/wheels \
        --requirement /tmp/locks/torch.txt; \
      else false; fi \
   || pip install --require-hashes --no-deps ${TORCH_FROM} --requirement /tmp/locks/torch.txt \
   || { echo "the locked torch is not in deploy/wheels nor at '${TORCH_FROM}' (docs/supply-chain.md)"; \
        false; }; } \
 && pip install --require-hashes --find-links /tmp/wheels --requirement /tmp/locks/setuptools.txt \
 && pip install --require-hashes --no-build-isolation --use-pep517 --find-links /tmp/wheels \
      --requirement /tmp/locks/torch.txt --requirement /tmp/locks/image.txt

# --- what builds the package and writes the bill of materials; no part of the image
FROM ${BASE} AS tools
ENV PATH=/opt/tools/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY deploy/wheels/ /tmp/wheels/
COPY deploy/locks/tools.txt /tmp/
RUN python3 -m venv /opt/tools \
 && pip install --require-hashes --find-links /tmp/wheels --requirement /tmp/tools.txt

# --- the app as a package, for the `tacet` command
FROM tools AS package
COPY pyproject.toml README.md LICENSE /src/
COPY app /src/app
COPY conf /src/conf
COPY privacy /src/privacy
COPY strategies /src/strategies
COPY workloads /src/workloads
COPY tasks /src/tasks
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /tmp/tacet /src

# --- all that Python runs, and the list of it
FROM dependencies AS environment
COPY --from=tools /opt/tools /opt/tools
COPY --from=package /tmp/tacet /tmp/tacet
# By name: pip would note the path of a file as where it comes from.
RUN pip install --no-index --no-deps --find-links /tmp/tacet tacet \
 && pip check \
 && /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
      --output-file /tmp/sbom.cdx.json /opt/tacet/bin/python

# --- what runs
FROM ${BASE} AS tacet
# Of the user in the containers, who writes the run folder on the host.
ARG UID=1000
COPY --from=environment /opt/tacet /opt/tacet
COPY --from=environment /tmp/sbom.cdx.json /usr/share/tacet/sbom.cdx.json
# A new volume takes its owner from the folder that it is mounted on.
RUN useradd --uid ${UID} --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tacet \
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
