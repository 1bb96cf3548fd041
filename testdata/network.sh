#!/usr/bin/env bash
# What networks do to two machines: silence, a link that goes down, another address, reachability from one side alone, IPv6, a machine
# that dies without a word. Each time sync goes on within seconds of the network being back. Run it as root on Linux:
#   RESONATE=$(which resonate) testdata/network.sh
source "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
within=30 # seconds; on a machine with nothing else to do it takes one or two, and six after another address

hosts_up desktop laptop
mkdir "$hosts/desktop/shared"
running() { on "$1" resonate status -dir shared; }
up() {
	in_background "$1" "$1.log" resonate -dir shared
	until_true 60 "the daemon of $1 runs" running "$1"
}
# goes_on WHAT: changes on either side arrive on the other.
goes_on() {
	local begun=$SECONDS
	until_true "$within" "$1" same desktop laptop
	echo "    $((SECONDS - begun)) s after the network was back"
}
edits() { echo "$1" >"$hosts/desktop/shared/desktop-$1"; echo "$1" >"$hosts/laptop/shared/laptop-$1"; }

up desktop
code=$(on desktop resonate invite -dir shared -json | sed -n 's/.*"code": "\([^"]*\)".*/\1/p')
in_background laptop laptop.log resonate join desktop.local:7373 "$code" -dir shared -yes
echo first >"$hosts/desktop/shared/first"
until_true 60 "laptop has joined" test -e "$hosts/laptop/shared/first"

cut_off laptop
edits silence
sleep 14 # longer than TCP is given for an answer
heal laptop
goes_on "after 14 s of silence"

ip -n "$tag-laptop" link set eth0 down
edits link
sleep 3
ip -n "$tag-laptop" link set eth0 up
ip -n "$tag-laptop" addr replace fd99::2/64 dev eth0 nodad # which goes with the link
goes_on "after a link that was down"

ip -n "$tag-laptop" addr del 10.99.0.2/24 dev eth0
ip -n "$tag-laptop" addr add 10.99.0.77/24 dev eth0
edits address
goes_on "with another address"

down laptop KILL # while it is cut off, so that desktop does not hear of it
cut_off desktop
edits death
heal desktop
up laptop
goes_on "after a machine died"

down desktop TERM
ip netns exec "$tag-desktop" iptables -A INPUT -i eth0 -p tcp --dport 7373 -j DROP
down laptop TERM
up laptop
up desktop
edits one-sided
goes_on "with one side that nobody can dial"
heal desktop

for host in desktop laptop; do down "$host" TERM; ip -n "$tag-$host" -4 addr flush dev eth0; done
sed -i 's/^10\.99\.0\.\([0-9]*\)/fd99::\1/' "$hosts/hosts"
up desktop
up laptop
edits ipv6
goes_on "with IPv6 alone"
