#!/usr/bin/env bash
# Build Helm and `objects`, which checks Kubernetes objects, with Go for the chart's tests, into $KEYGAUGE_CACHE
# (default ~/.cache/keygauge), unless they are already there.
set -euo pipefail
version=3.18.6
cache="${KEYGAUGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/keygauge}"
target="$cache/helm-$version"
source="$(dirname "$0")/objects"
require_go() {
    command -v go >/dev/null || { echo "no go: install Go 1.24 or later, or set KEYGAUGE_HELM to a helm" >&2; exit 1; }
}

if [ ! -x "$target" ]; then
    require_go
    mkdir -p "$cache/go-helm"
    GOBIN="$cache/go-helm" go install "helm.sh/helm/v3/cmd/helm@v$version"
    mv "$cache/go-helm/helm" "$target"
    rm -rf "$cache/go-helm"
fi
if [ ! "$cache/kubernetes-objects" -nt "$source/main.go" ] || [ ! "$cache/kubernetes-objects" -nt "$source/go.mod" ]; then
    require_go
    go build -C "$source" -o "$cache/kubernetes-objects" .
fi
echo "$target"
