# Machines for the scripts beside this: network namespaces on one switch, each with a host name, an /etc/hosts and a HOME of its own. It
# is sourced by bash, as root on Linux with iproute2, iptables and util-linux; RESONATE names the program.
#
#   hosts_up NAME...       makes the machines NAME, at 10.99.0.1 and fd99::1, 10.99.0.2 and fd99::2, ...; and NAME.local
#   on NAME COMMAND...     runs a command on one; its HOME is $hosts/NAME
#   in_background NAME LOG COMMAND...
#   cut_off NAME, heal NAME    takes its network away without a word to anybody, and gives it back
#   until_true SECONDS WHAT COMMAND...
#
# Everything is taken down, and what was started ended, when the script exits.

set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "this needs root, for network namespaces" >&2; exit 77; }
: "${RESONATE:?name the program, such as RESONATE=/tmp/resonate}"

hosts=$(mktemp -d "${TMPDIR:-/tmp}/resonate-hosts-XXXXXX")
tag=rs$$
names=()
mkdir "$hosts/bin"
ln -s "$RESONATE" "$hosts/bin/resonate"

hosts_down() {
	local code=$? name pid
	trap - EXIT
	for name in "${names[@]}" switch; do
		for pid in $(ip netns pids "$tag-$name" 2>/dev/null); do kill -TERM "$pid" 2>/dev/null || true; done
	done
	for name in "${names[@]}" switch; do
		for pid in $(ip netns pids "$tag-$name" 2>/dev/null); do
			timeout 5 tail --pid="$pid" -f /dev/null 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
		done
		ip netns del "$tag-$name" 2>/dev/null || true
	done
	if [ "$code" != 0 ]; then tail -n 30 "$hosts"/*.log >&2 2>/dev/null || true; fi
	rm -rf "$hosts"
	exit "$code"
}
trap hosts_down EXIT
trap 'exit 130' INT TERM

hosts_up() {
	local name at=0
	ip netns add "$tag-switch"
	ip -n "$tag-switch" link add switch type bridge
	ip -n "$tag-switch" link set switch up
	echo "127.0.0.1 localhost" >"$hosts/hosts"
	for name in "$@"; do
		at=$((at + 1))
		names+=("$name")
		mkdir "$hosts/$name"
		printf '10.99.0.%d %s %s.local\n' "$at" "$name" "$name" >>"$hosts/hosts"
		ip netns add "$tag-$name"
		ip -n "$tag-$name" link set lo up
		ip -n "$tag-switch" link add "port$at" type veth peer name eth0 netns "$tag-$name"
		ip -n "$tag-switch" link set "port$at" master switch up
		ip -n "$tag-$name" addr add "10.99.0.$at/24" dev eth0
		ip -n "$tag-$name" link set eth0 up
		ip -n "$tag-$name" addr add "fd99::$at/64" dev eth0 nodad
	done
}

on() {
	local name=$1
	shift
	ip netns exec "$tag-$name" unshare --mount --uts bash -c '
		hostname "$1"; mount --bind "$2/hosts" /etc/hosts; export HOME=$2/$1 PATH=$2/bin:$PATH
		unset XDG_STATE_HOME XDG_CONFIG_HOME XDG_RUNTIME_DIR; cd; shift 2; exec "$@"' on "$name" "$hosts" "$@"
}

in_background() {
	local name=$1 log=$2
	shift 2
	on "$name" "$@" </dev/null >>"$hosts/$log" 2>&1 &
}

# down HOST SIGNAL: ends what runs on a machine, and waits for it.
down() {
	local pid
	for pid in $(ip netns pids "$tag-$1"); do kill "-$2" "$pid" 2>/dev/null || true; done
	until_true 60 "nothing runs on $1 any more" idle "$1"
}
idle() { [ -z "$(ip netns pids "$tag-$1")" ]; }

cut_off() { ip netns exec "$tag-$1" bash -c 'iptables -A INPUT -i eth0 -j DROP; iptables -A OUTPUT -o eth0 -j DROP'; }
heal() { ip netns exec "$tag-$1" iptables -F; }

until_true() {
	local most=$1 what=$2 end
	shift 2
	end=$((SECONDS + most))
	until "$@" >/dev/null 2>&1; do
		if [ "$SECONDS" -ge "$end" ]; then
			echo "not after $most s: $what" >&2
			"$@" >&2 || true
			return 1
		fi
		sleep 0.1
	done
	echo "ok: $what"
}

# same A B: the folders ~/shared of two machines hold the same.
same() { diff -r --no-dereference -x .resonate "$hosts/$1/shared" "$hosts/$2/shared"; }
