#!/bin/sh
# Print the settings that compose.yaml requires, with new secrets; `make env` writes them to .env, which git ignores.
set -eu
secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

cat <<EOF
KEYGAUGE_ADMIN_TOKEN=$(secret)
KEYGAUGE_SERVICE_TOKEN=$(secret)
KEYGAUGE_PEPPER=1:$(secret)
KEYGAUGE_POSTGRES_PASSWORD=$(secret)
KEYGAUGE_DATABASE_PASSWORD=$(secret)
KEYGAUGE_GRAFANA_DATABASE_PASSWORD=$(secret)
KEYGAUGE_GRAFANA_ADMIN_PASSWORD=$(secret)
EOF
