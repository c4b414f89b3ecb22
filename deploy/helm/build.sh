#!/usr/bin/env bash
# Build Helm with Go, for the chart's tests, into $KEYGAUGE_CACHE (default ~/.cache/keygauge), unless it is already there.
set -euo pipefail
version=3.18.6
cache="${KEYGAUGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keygauge}"
target="$cache/helm-$version"

if [ ! -x "$target" ]; then
    command -v go >/dev/null || { echo "no go: install Go 1.24 or later, or set KEYGAUGE_HELM to a helm" >&2; exit 1; }
    mkdir -p "$cache/go-helm"
    GOBIN="$cache/go-helm" go install "helm.sh/helm/v3/cmd/helm@v$version"
    mv "$cache/go-helm/helm" "$target"
    rm -rf "$cache/go-helm"
fi
echo "$target"
