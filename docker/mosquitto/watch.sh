#!/bin/sh
# watch.sh BROKER_FOLDER PASSWORD_FILE RUN_FOLDER MOSQUITTO [ARGUMENT...]
# Runs the broker in the foreground and sends it a SIGHUP when the portal has replaced one of its files.
set -eu
umask 077
folder=$1 password=$2 run=$3
shift 3
files="ca.pem server.pem server.key crl.pem acl"

# One line for each file that is there and not empty: a replaced file has another inode or time.
look() {
    for name in $files; do
        [ -s "$folder/$name" ] && stat -c '%n %i %y %s' "$folder/$name" || echo "$name is missing"
    done 2>/dev/null
}

complete() {
    case $1 in *"is missing"*) return 1 ;; esac
}

# A certificate and its key are two files, and must not be read between the two renames: wait until all is quiet.
watch() {
    told=$1 last=$1
    while kill -0 $$ 2>/dev/null; do
        sleep 1 || return 1
        now=$(look)
        if [ "$now" = "$last" ] && [ "$now" != "$told" ] && complete "$now"; then
            told=$now
            echo "watch: files were replaced, the broker reads them again"
            kill -HUP $$
        fi
        last=$now
    done
}

trap 'exit 143' TERM INT
seen=$(look)
if ! complete "$seen"; then
    echo "watch: waiting for the portal to write $files"
    until complete "$seen"; do
        sleep 1
        seen=$(look)
    done
fi

# Through files, because arguments and environment can be seen from outside.
secret=$(cat "$password")
printf 'portal:%s\n' "$secret" >"$run/passwords"
mosquitto_passwd -U "$run/passwords"
printf '%s\n' '-u portal' "-P $secret" >"$run/mosquitto_sub"
unset secret

# $$ is the broker after `exec`: the container's signals reach it, and its end is the container's. A broker whose
# watcher gave up would let revoked devices in again, so it is ended and started anew.
{ watch "$seen" || kill -TERM $$; } &
exec "$@"
