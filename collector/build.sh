#!/usr/bin/env bash
# Build the collector of builder.yaml with Go into $KEYGAUGE_CACHE (default ~/.cache/keygauge), unless it is already there.
set -euo pipefail
config="$(cd "$(dirname "$0")" && pwd)/builder.yaml"
version="$(sed -n 's/^  version: //p' "$config")"
cache="${KEYGAUGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keygauge}"
target="$cache/keygauge-otelcol-$version"

if [ ! -x "$target" ]; then
    command -v go >/dev/null || { echo "no go: install Go 1.25 or later, or set KEYGAUGE_OTELCOL to a collector" >&2; exit 1; }
    mkdir -p "$cache/go"
    cd "$cache"
    GOBIN="$cache/go" go install "go.opentelemetry.io/collector/cmd/builder@v$version"
    CGO_ENABLED=0 "$cache/go/builder" --config "$config" --ldflags "-s -w"
    mv keygauge-otelcol-source/keygauge-otelcol "$target"
    rm -rf keygauge-otelcol-source go
fi
echo "$target"
