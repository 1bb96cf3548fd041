#!/usr/bin/env bash
# Two machines that are members by their keys, and know no address of each other, find each other with -discover, and again when both
# have other addresses. A third one, a stranger, asks who is there, and is told a random tag and an address. Run it as root on Linux,
# with Go for the stranger:   RESONATE=$(which resonate) testdata/discover.sh
source "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
(cd "$(dirname "${BASH_SOURCE[0]}")" && CGO_ENABLED=0 go build -o "$hosts/bin/mdns-ask" ./mdns-ask)

hosts_up desktop laptop stranger
running() { on "$1" resonate status -dir shared; }
up() {
	in_background "$1" "$1.log" resonate -dir shared -listen 0.0.0.0 "${@:2}"
	until_true 60 "the daemon of $1 runs" running "$1"
}
id() { on "$1" resonate peers id -dir shared; }

for host in desktop laptop; do
	mkdir "$hosts/$host/shared"
	echo "$host" >"$hosts/$host/shared/from-$host"
	up "$host"
done
id laptop | on desktop resonate peers trust - -dir shared
id desktop | on laptop resonate peers trust - -dir shared

# Without -discover nothing is announced, and nobody is found.
asked=$(on stranger mdns-ask)
[ -z "$asked" ] || { echo "announced without -discover: $asked" >&2; exit 1; }
! same desktop laptop >/dev/null || { echo "they are in sync without an address" >&2; exit 1; }

for host in desktop laptop; do down "$host" TERM; done
for host in desktop laptop; do up "$host" -discover; done
until_true 60 "they have found each other" same desktop laptop

# What a stranger hears: a name of 26 random letters and digits, the same as the host, and an address with a port.
on stranger mdns-ask | sort >"$hosts/heard"
sed 's/^/    heard: /' "$hosts/heard"
[ "$(wc -l <"$hosts/heard")" = 2 ] || { echo "want one answer of each" >&2; exit 1; }
if grep -vE '^10\.99\.0\.[12] PTR _resonate\._tcp\.local ([a-z2-7]{26})\._resonate\._tcp\.local SRV \1\._resonate\._tcp\.local \1\.local:7373 TXT \1\._resonate\._tcp\.local "" A \1\.local 10\.99\.0\.[12]$' "$hosts/heard"; then
	echo "more is announced than a tag and an address" >&2
	exit 1
fi
for secret in "$(id desktop | cut -d' ' -f2)" "$(hostname)" desktop laptop shared "$(on desktop resonate peers -dir shared -json | sed -n 's/.*"short": "\([^"]*\)".*/\1/p' | head -n 1)"; do
	! grep -qF "$secret" "$hosts/heard" || { echo "announced: $secret" >&2; exit 1; }
done
echo "ok: a stranger hears tags and addresses"
before=$(grep -o '[a-z2-7]\{26\}' "$hosts/heard" | sort -u)

# Both get other addresses while they are apart: no address that either knows leads anywhere.
for host in desktop laptop; do down "$host" TERM; done
for at in 1 2; do
	host=$([ $at = 1 ] && echo desktop || echo laptop)
	ip -n "$tag-$host" addr flush dev eth0
	ip -n "$tag-$host" addr add "10.99.0.$((at + 100))/24" dev eth0
done
for host in desktop laptop; do
	echo again >"$hosts/$host/shared/again-$host"
	up "$host" -discover
done
until_true 60 "they have found each other at other addresses" same desktop laptop
after=$(on stranger mdns-ask | grep -o '[a-z2-7]\{26\}' | sort -u)
[ -z "$(comm -12 <(echo "$before") <(echo "$after"))" ] || { echo "a tag was used twice" >&2; exit 1; }
echo "ok: tags are others at each start"
