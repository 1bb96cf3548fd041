#!/usr/bin/env bash
# Three machines, paired by codes: a tree is synced; one is cut off, and both sides go on; healed, all are equal; one is
# forgotten, and refused. Run it as root on Linux:  RESONATE=$(which resonate) testdata/three-hosts.sh [TREE]
source "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
tree=${1:-$(go env GOROOT)/src/go}

hosts_up desktop laptop phone
mkdir "$hosts/desktop/shared"
cp -r "$tree" "$hosts/desktop/shared/tree"

# code HOST: an invitation of a machine whose daemon runs.
code() { on "$1" resonate invite -dir shared -json | sed -n 's/.*"code": "\([^"]*\)".*/\1/p'; }
members() { on "$1" resonate peers -dir shared -json | grep -c '"short"'; }
knows() { [ "$(members "$1")" = "$2" ]; }
running() { on "$1" resonate status -dir shared; }
joined() { # JOINER INVITER
	in_background "$1" "$1.log" resonate join "$2.local:7373" "$(code "$2")" -dir shared -yes
}

in_background desktop desktop.log resonate -dir shared -hold off
until_true 60 "the daemon of desktop runs" running desktop
joined laptop desktop
until_true 60 "laptop has joined desktop" knows laptop 2
joined phone laptop
for host in desktop laptop phone; do until_true 60 "$host knows all three" knows "$host" 3; done
until_true 120 "laptop has the tree" same desktop laptop
until_true 120 "phone has the tree" same desktop phone

direct() { on desktop resonate peers -dir shared -json | grep -c '"state": "connected"' | grep -qx 2; }
until_true 60 "desktop and phone, which did not join by each other, are connected" direct

cut_off phone
echo "while phone was away" >"$hosts/desktop/shared/desktop.txt"
echo "one side" >"$hosts/laptop/shared/both.txt"
echo "the other" >"$hosts/phone/shared/both.txt"
rm -r "$hosts/phone/shared/tree/ast"
mv "$hosts/laptop/shared/tree/scanner" "$hosts/laptop/shared/tree/moved"
echo "away from all" >"$hosts/phone/shared/phone.txt"
until_true 60 "desktop and laptop go on" same desktop laptop
[ ! -e "$hosts/desktop/shared/phone.txt" ] || { echo "phone is not cut off" >&2; exit 1; }
heal phone
healed=$SECONDS
until_true 60 "phone's change is at desktop" test -e "$hosts/desktop/shared/phone.txt"
echo "    $((SECONDS - healed)) s after the network was back"
until_true 60 "phone is as desktop" same desktop phone
until_true 60 "laptop is as desktop" same desktop laptop
cat "$hosts"/desktop/shared/both*.txt | sort | tr '\n' ' ' | grep -q 'one side the other' || { echo "a side of the conflict is lost" >&2; exit 1; }
[ ! -e "$hosts/desktop/shared/tree/ast" ] && [ -d "$hosts/phone/shared/tree/moved" ] || { echo "a deletion or a move did not arrive" >&2; exit 1; }
echo "ok: both sides' changes are there"

on desktop resonate peers forget phone:shared -dir shared
alone() { on phone resonate status -dir shared | grep -q '^state *forgotten' || on phone resonate peers -dir shared | grep -q 'was forgotten by'; }
until_true 60 "phone is told that it was forgotten" alone
echo "after" >"$hosts/phone/shared/after.txt"
echo "after" >"$hosts/desktop/shared/after-desktop.txt"
until_true 60 "the others go on" test -e "$hosts/laptop/shared/after-desktop.txt"

# What phone was told it may ignore: it takes all that it heard of members out of its state, and knocks with its old key.
down phone TERM
rm "$hosts"/phone/.local/state/resonate/*/members
in_background phone phone.log resonate -dir shared -peer desktop.local:7373
until_true 60 "phone's daemon runs again" running phone
on desktop resonate peers id -dir shared | on phone resonate peers trust - -dir shared
refused() { grep -q 'refused a connection.*phone:shared was forgotten by desktop' "$hosts/desktop.log"; }
until_true 60 "phone is refused by its key" refused
if [ -e "$hosts/desktop/shared/after.txt" ] || [ -e "$hosts/laptop/shared/after.txt" ] || [ -e "$hosts/phone/shared/after-desktop.txt" ]; then
	echo "a forgotten machine still takes part" >&2
	exit 1
fi
[ -e "$hosts/phone/shared/after.txt" ] && echo "ok: what changes at the forgotten machine stays there"
