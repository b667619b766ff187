#!/usr/bin/env bash
set -eu
for language in Hello Hallo Bonjour; do
  echo "$language, ${1:-world}!"
done
