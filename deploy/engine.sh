#!/bin/sh
# Make sure that a Docker engine answers and that the base image is there: for machines that test
# the deployment. Installs Debian's engine where there is none and this user is root; builds the
# base image from Debian's packages where it cannot be pulled. Exits with 3 where no engine
# answers and none may be started.
set -eu
base=${TACET_BASE:-python:3.11-slim-bookworm}
cd "$(dirname "$0")/.."

say() { echo "engine.sh: $*" >&2; }

if ! docker info >/dev/null 2>&1; then
  [ "$(id -u)" = 0 ] || { say "no engine answers, and only root may start one"; exit 3; }
  if ! command -v dockerd >/dev/null; then
    say "installing Debian's engine"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
      --no-install-recommends docker.io docker-compose iptables >/dev/null; } ||
      { say "Debian's engine cannot be installed here"; exit 3; }
  fi
  say "starting dockerd; its log is /var/log/dockerd.log"
  nohup dockerd >/var/log/dockerd.log 2>&1 </dev/null &
  for _ in $(seq 60); do
    docker info >/dev/null 2>&1 && break
    sleep 1
  done
  docker info >/dev/null || {
    say "dockerd did not start"
    tail -n 20 /var/log/dockerd.log
    exit 3
  }
fi

if ! docker compose version >/dev/null 2>&1 && ! command -v docker-compose >/dev/null; then
  say "there is neither docker compose nor docker-compose"
  exit 1
fi

if ! docker image inspect "$base" >/dev/null 2>&1 && ! docker pull -q "$base" 2>/dev/null; then
  # What is asked for by digest is that image, not one made here.
  case $base in *@*) say "$base cannot be pulled, and no other image has its digest"; exit 1 ;; esac
  [ "$(id -u)" = 0 ] || { say "$base cannot be pulled, and only root may build it"; exit 1; }
  say "$base cannot be pulled: building it from Debian's packages"
  command -v debootstrap >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      debootstrap >/dev/null
  }
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    bookworm "$folder" >/dev/null
  # What this machine trusts, the image trusts: a proxy's authority, say.
  cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/"
  printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$folder/etc/pip.conf"
  rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
  tar -C "$folder" -c . | docker import - "$base" >/dev/null
fi

# Where pip here finds the CPU build of torch by itself, the image takes it from deploy/wheels.
version=$(.venv/bin/python -c 'import torch; print(torch.__version__)' 2>/dev/null || :)
case $version in
  *+cpu)
    ls deploy/wheels/torch-*.whl >/dev/null 2>&1 ||
      .venv/bin/pip download -q --no-deps --dest deploy/wheels "torch==$version" ||
      say "pip finds no torch $version; the image will download it"
    ;;
esac
docker version --format 'engine {{.Server.Version}}'
