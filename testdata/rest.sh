#!/usr/bin/env bash
# The REST calls of docs/rest.md, by curl, on three nodes of which one is killed in between. What it prints is the session in that document.
# It needs curl and a program:  RESONATE=/tmp/resonate testdata/rest.sh
set -euo pipefail
: "${RESONATE:?name the program, such as RESONATE=/tmp/resonate}"

work=$(mktemp -d "${TMPDIR:-/tmp}/resonate-rest-XXXXXX")
declare -A pids
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

# at NODE CALL [CURL'S OPTIONS]: a call of the node that has this folder.
at() { curl -sS --unix-socket "$(cat "$1/.resonate/control")" "http://localhost/$2" "${@:3}"; }

until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || { echo "not in time: $what" >&2; "$@" >&2; exit 1; }
		sleep 0.05
	done
}
gone() { ! kill -0 "$1" 2>/dev/null; }
port() { sed -n 's/.*Listening on 127.0.0.1:\([0-9]*\).*/\1/p' "$1.log" | head -n 1 | grep .; }
up() { # NAME PEER...
	local name=$1 peers=() peer
	shift
	mkdir "$name"
	for peer; do peers+=(-peer "127.0.0.1:$(port "$peer")"); done
	bin/resonate -dir "$name" -port 0 "${peers[@]}" >"$name.log" 2>&1 &
	pids[$name]=$!
	disown # its end is no news to the shell
	until_true 60 "the daemon of $name listens" port "$name"
}
# voters N NODE...: each of the nodes has locks, and the one that leads knows of N that keep them.
voters() {
	local n=$1 node most=0 count
	shift
	for node; do
		at "$node" health -f >/dev/null || return
		count=$(at "$node" status | grep -o '"connected":true' | wc -l)
		[ "$count" -le "$most" ] || most=$count
	done
	[ "$most" = "$n" ]
}
# say COMMAND: shows a command and runs it.
say() {
	printf '$ %s\n' "$1"
	eval "$1"
}

up a
up b a
up c a b
until_true 60 "three nodes keep the locks" voters 3 a b c

echo '$ at() { curl -sS --unix-socket "$(cat "$1/.resonate/control")" "http://localhost/$2" "${@:3}"; }'
say "at a lock -d '{\"resource\":\"payment-42\",\"ttl\":\"60s\",\"owner\":\"till 1\",\"request_id\":\"4d07e27c-15f3-4b5e\"}' | tee answer"
printf '$ kill -9 %s   # the daemon of a\n' "${pids[a]}"
kill -KILL "${pids[a]}"
until_true 60 "it has ended" gone "${pids[a]}"
unset 'pids[a]'
say "at b lock -d '{\"resource\":\"payment-42\",\"ttl\":\"60s\",\"owner\":\"till 1\",\"request_id\":\"4d07e27c-15f3-4b5e\"}'   # asked again"
say "at c lock -d '{\"resource\":\"payment-42\",\"owner\":\"till 2\"}'"
say "at c locks/payment-42"
say 'id=$(sed "s/.*\"lock_id\":\"\([^\"]*\)\".*/\1/" answer)'
say 'at c renew -d "{\"lock_id\":\"$id\",\"ttl\":\"2m\"}"'
say 'at b unlock -d "{\"lock_id\":\"$id\"}"'
say 'at c unlock -d "{\"lock_id\":\"$id\"}"   # sent again, to another node'
say 'at b renew -d "{\"lock_id\":\"$id\"}"'
say "at b lock -d '{\"resource\":\"payment-42\",\"ttl\":\"60s\",\"owner\":\"till 1\",\"request_id\":\"4d07e27c-15f3-4b5e\"}'"
say 'at c locks'
say 'at c health'
say 'at b status'
