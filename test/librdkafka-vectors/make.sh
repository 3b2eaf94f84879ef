#!/bin/sh
# Makes vectors.txt.gz anew: what the real librdkafka's partitioners choose for
# 20,000 keys each. Needs a C compiler and Debian's librdkafka-dev.
set -eu
cd "$(dirname "$0")"
bin=$(mktemp)
trap 'rm -f "$bin"' EXIT
# shellcheck disable=SC2046 # several flags
cc -O2 -Wall -Wextra -o "$bin" vectors.c $(pkg-config --cflags --libs rdkafka)
"$bin" | gzip -9n >vectors.txt.gz
echo "$(pwd)/vectors.txt.gz: $(zcat vectors.txt.gz | grep -vc '^#') keys, $(wc -c <vectors.txt.gz) bytes"
