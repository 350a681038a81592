#!/bin/sh
# Text statistics in plain POSIX shell: reads a line, answers a line.
# What a message says is found by jq, or by json.awk where there is no jq.
set -u
here=$(dirname "$0")
feed='
'

# Sets id (as JSON, empty if there is none), method and path from the message in $1.
parse() {
    if [ -n "${have_jq-}" ]; then
        fields=$(printf '%s\n' "$1" | jq -j '
            if has("id") then .id | tojson else "" end, "\n",
            .method, "\n", (.params | objects | .path | strings), "."' 2>/dev/null)
    else
        fields=$(printf '%s\n' "$1" | LC_ALL=C awk -f "$here/json.awk" && printf .)
    fi || return
    id=${fields%%"$feed"*} fields=${fields#*"$feed"}
    method=${fields%%"$feed"*} path=${fields#*"$feed"}
    path=${path%.} # it only kept the shell from dropping line feeds
}

result() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
failure() { printf '{"jsonrpc":"2.0","id":%s,"error":{"code":%s,"message":"%s"}}\n' "$id" "$1" "$2"; }

count() {
    if [ -z "$path" ]; then
        failure -32602 'the parameter path is missing'
    elif [ -d "$path" ] || ! counts=$(wc -l -w -c <"$path") 2>/dev/null; then
        failure -32000 'the file cannot be read'
    else
        # The three numbers, in this order whatever the order of the options, become $1 to $3.
        # shellcheck disable=SC2086
        set -- $counts
        result "{\"lines\":$1,\"words\":$2,\"bytes\":$3}"
    fi
}

command -v jq >/dev/null && have_jq=yes
while IFS= read -r line; do
    [ -n "$line" ] || continue
    if ! parse "$line"; then
        id=null
        failure -32700 'not JSON'
        continue
    fi
    [ "$method" = exit ] && exit 0
    [ -n "$id" ] || continue # a notification, which gets no answer
    case $method in
    initialize) result '{"version":1,"plugin":{"name":"shellwords","version":"1.0.0"},"methods":["count"]}' ;;
    count) count ;;
    shutdown) result null ;;
    '$/ping') result '{}' ;;
    *) failure -32601 'no such method' ;;
    esac
done
