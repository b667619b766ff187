#!/usr/bin/env bash
# Installs what is missing of Debian's packages; says what and why. Needs root or sudo only when something is missing.
#   .ci/install.sh run    what the product itself needs
#   .ci/install.sh test   what the tests need beside it
set -euo pipefail

missing=()
need() { # COMMAND PACKAGE WHY
  command -v "$1" >/dev/null 2>&1 && return
  missing+=("$2")
  printf 'install: %s is missing: %s\n' "$2" "$3" >&2
}

need git git "commits are fetched with it"
need redis-server redis-server "queue and state; impgem up starts a private one"
need bwrap bubblewrap "the sandbox executor runs each step in it"
# No reason of its own to ask for root: without it steps are on the host's network.
if [ ${#missing[@]} -gt 0 ] || [ "${1:-run}" = test ]; then
  need slirp4netns slirp4netns "a job in the sandbox gets a network of its own with it"
fi
if [ "${1:-run}" = test ]; then
  need chromium chromium "the pages are tested in a real browser"
  need docker-registry docker-registry "pulling images is tested against a real registry"
  need docker-compose docker-compose "docker-compose.yml is brought up and a push runs through it"
  need openssl openssl "TLS to an engine is tested with certificates of our own"
  need curl curl "the test set-up asks the engine with it"
  need podman podman "steps and services are tested on its Docker API as well"
  need /usr/lib/podman/netavark netavark "Podman makes the networks of jobs with it"
  need /usr/lib/podman/aardvark-dns aardvark-dns "Podman finds services by their names with it"
  need runc runc "Podman runs containers with it where crun refuses the kernel"
  need ip iproute2 "isolation tests look at networks with it"
fi

if [ ${#missing[@]} -gt 0 ]; then
  root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "install: run as root: apt-get install ${missing[*]}" >&2; exit 1; }
    root=(sudo)
  fi
  command -v apt-get >/dev/null || { echo "install: no apt-get here; install ${missing[*]} yourself" >&2; exit 1; }
  echo "install: apt-get install ${missing[*]}" >&2
  "${root[@]}" apt-get update -qq
  # Services of these packages must not start: ours are private.
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
