#!/usr/bin/env bash
# The calls about files of docs/rest.md, by curl, on three nodes. What it prints is the session in that document.
# It needs curl and a program:  RESONATE=/tmp/resonate testdata/files.sh
set -euo pipefail
: "${RESONATE:?name the program, such as RESONATE=/tmp/resonate}"

work=$(mktemp -d "${TMPDIR:-/tmp}/resonate-files-XXXXXX")
pids=()
finish() {
	local code=$? pid
	trap - EXIT
	for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	[ "$code" = 0 ] || tail -n 20 "$work"/*.log >&2
	rm -rf "$work"
	exit "$code"
}
trap finish EXIT
cd "$work"
mkdir bin
ln -s "$RESONATE" bin/resonate
export HOME=$work XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config XDG_RUNTIME_DIR=$work/run

at() { curl -sS --unix-socket "$(cat "$1/.resonate/control")" "http://localhost/$2" "${@:3}"; }

until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "not in time: $what" >&2; "$@" >&2; exit 1; }
		sleep 0.05
	done
}
port() { sed -n 's/.*Listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$1.log" | head -n 1 | grep .; }
up() { # NAME PEER...
	local name=$1 peers=() peer
	shift
	mkdir "$name"
	for peer; do peers+=(-peer "127.0.0.1:$(port "$peer")"); done
	bin/resonate -dir "$name" -port 0 "${peers[@]}" >"$name.log" 2>&1 &
	pids+=($!)
	until_true 60 "the daemon of $name listens" port "$name"
}
# ready NODE...: each of the nodes has locks, and is in sync with the others; and the one that leads knows of three that keep the locks.
ready() {
	local node text most=0 count
	for node; do
		text=$(at "$node" status -f)
		[[ $text = *'"state":"in sync"'*'"majority":true'* ]] || return
		count=$(grep -o '"connected":true' <<<"$text" | wc -l)
		[ "$count" -le "$most" ] || most=$count
	done
	[ "$most" = 3 ]
}
# say COMMAND: shows a command and runs it.
say() {
	printf '$ %s\n' "$1"
	eval "$1"
}

up a
up b a
up c a b
until_true 60 "three nodes keep the locks" ready a b c

echo '$ at() { curl -sS --unix-socket "$(cat "$1/.resonate/control")" "http://localhost/$2" "${@:3}"; }'
say "at a files/jobs/42 -X PUT -d 'taken by worker 1' -H 'If-None-Match: *'"
say "at b files/jobs/42 -X PUT -d 'taken by worker 2' -H 'If-None-Match: *'   # too late"
say 'at c files/jobs/42; echo'
say "at c files/jobs/42 -I | tr -d '\\r' | grep -E 'HTTP|Etag|Content-Length|Resonate'"
say "etag=\$(at c files/jobs/42 -I | tr -d '\\r' | sed -n 's/^Etag: //p')"
say "at b files/jobs/42 -X PUT -d 'done by worker 1' -H \"If-Match: \$etag\" -w '%{http_code}\\n'"
say "at c files/jobs/42 -X PUT -d 'given up' -H \"If-Match: \$etag\""
say 'cat b/jobs/42; echo'
say 'at a files/jobs/43'
say 'at a files/jobs -X PUT -d x'
