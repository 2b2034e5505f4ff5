#!/bin/sh
# make-secrets.sh: makes what is missing in docker/secrets/ and never changes what is there.
set -eu
# The folder is closed to everybody else. The files in it are readable, because a container sees a file, not the
# folder, and each of the four users in the containers has another number than you.
umask 022
folder=$(dirname "$0")/secrets
mkdir -p -m 0700 "$folder"
chmod 0700 "$folder"
cd "$folder"

keep() { # keep NAME VALUE: written whole or not at all
    [ -e "$1" ] || { printf '%s\n' "$2" >".$1.new" && mv ".$1.new" "$1"; }
}

for name in secret_key ca_key_passphrase mqtt_ingest_group metrics_token postgres_password valkey_password mqtt_password; do
    value=$(openssl rand -hex 32)
    keep "$name" "$value"
done
value=$(openssl rand -hex 8) # typed by people
keep demo_password "$value"

# The portal reads whole URLs; the servers read what they need.
keep database_url "postgres://fleetportal:$(cat postgres_password)@postgres:5432/fleetportal"
keep redis_url "redis://:$(cat valkey_password)@valkey:6379/0"
keep mqtt_url "mqtt://portal:$(cat mqtt_password)@mosquitto-internal:1883"
keep valkey_auth "requirepass $(cat valkey_password)"
