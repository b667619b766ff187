#!/usr/bin/env bash
# A Docker engine for the tests, on a machine that may have none and may reach no image registry.
#
# Idempotent: installs docker.io and debootstrap when they are missing, starts dockerd when nothing answers on its
# socket, makes the base image from the Debian mirror that this machine's apt uses. Ready when it returns.
# A dockerd that it started is stopped by:  .ci/docker-engine.sh stop
set -euo pipefail

state="${TMPDIR:-/tmp}/impgem-docker-engine"
socket=/var/run/docker.sock
image=debian:bookworm-slim
export DOCKER_HOST="unix://$socket"

say() { printf 'docker-engine: %s\n' "$*" >&2; }
engine_answers() { curl -sf --max-time 3 --unix-socket "$socket" http://engine/_ping >/dev/null 2>&1; }
image_exists() { curl -sf --unix-socket "$socket" "http://engine/images/$1/json" >/dev/null 2>&1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_missing() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io)
  command -v debootstrap >/dev/null || missing+=(debootstrap)
  command -v curl >/dev/null || missing+=(curl ca-certificates)
  command -v iptables >/dev/null || missing+=(iptables)
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]} from the Debian archive: the tests run steps in real containers"
  as_root env DEBIAN_FRONTEND=noninteractive sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' sh "${missing[@]}" >&2
}

start_engine() {
  engine_answers && return
  mkdir -p "$state"
  say "starting dockerd (log: $state/dockerd.log)"
  # No engine answers: a pid file is of one that was killed (and may not have been waited for yet).
  as_root rm -f "$state/dockerd.pid"
  # A session of its own, with no descriptor of ours: it must outlive the shell and hold no pipe of a CI run open.
  as_root setsid dockerd --pidfile "$state/dockerd.pid" --host "$DOCKER_HOST" \
    </dev/null >"$state/dockerd.log" 2>&1 9>&- &
  local deadline=$((SECONDS + 60))
  until engine_answers; do
    if [ $SECONDS -ge $deadline ] || ! kill -0 $! 2>/dev/null; then
      say "dockerd did not get ready; the end of its log:"
      tail -n 20 "$state/dockerd.log" >&2
      exit 1
    fi
    sleep 0.2
  done
}

# First Debian archive that apt itself uses, deb822 or one-line form.
debian_mirror() {
  cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    grep -oE '^(URIs:|deb( \[[^]]*\])?) +https?://[^ ]+' | grep -oE 'https?://[^ ]+' |
    grep -E '/debian/?$' | head -n 1 || true
}

make_image() {
  image_exists "$image" && return
  local mirror folder
  mirror="$(debian_mirror)"
  folder="$(mktemp -d "${TMPDIR:-/tmp}/impgem-base-image.XXXXXX")"
  say "making the image $image with debootstrap (about half a minute)"
  if ! as_root debootstrap --variant=minbase --include=bash,git,ca-certificates,curl \
    bookworm "$folder" ${mirror:+"$mirror"} >"$folder.log" 2>&1; then
    tail -n 20 "$folder.log" >&2
    exit 1
  fi
  # Only what a container needs: no package cache, no lists.
  as_root rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
  as_root tar -C "$folder" --numeric-owner --one-file-system -c . |
    curl -sf --unix-socket "$socket" -H "Content-Type: application/x-tar" -T - -X POST \
      "http://engine/images/create?fromSrc=-&repo=debian&tag=bookworm-slim&changes=CMD%20%5B%22bash%22%5D" >/dev/null
  as_root rm -rf "$folder" "$folder.log"
  image_exists "$image" || { say "the engine did not take the image"; exit 1; }
}

stop_engine() {
  local pid
  pid="$(cat "$state/dockerd.pid" 2>/dev/null || true)"
  [ -n "$pid" ] || { say "no dockerd of ours is running"; return; }
  as_root kill "$pid"
  while [ -e "/proc/$pid" ]; do sleep 0.2; done
  say "stopped dockerd"
}

case "${1:-start}" in
  start)
    install_missing
    start_engine
    make_image
    say "ready: engine $(curl -sf --unix-socket "$socket" http://engine/version | grep -oE '"Version":"[^"]*"' | head -n 1 | cut -d'"' -f4), image $image"
    ;;
  stop) stop_engine ;;
  *) say "usage: .ci/docker-engine.sh [start|stop]"; exit 64 ;;
esac
