#!/usr/bin/env bash
# A peer that is reached through its machine's own sshd: -peer ssh://USER@HOST/PATH, without a daemon there, and with one; and another
# node at the same address, which is refused. Run it as root on Linux, with OpenSSH's server and client:
#   RESONATE=$(which resonate) testdata/login.sh
source "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
sshd=$(command -v sshd || echo /usr/sbin/sshd)

hosts_up desktop laptop
mkdir "$hosts/desktop/shared" "$hosts/laptop/shared" "$hosts/laptop/.ssh"
ssh-keygen -q -t ed25519 -N '' -f "$hosts/host_key"
ssh-keygen -q -t ed25519 -N '' -f "$hosts/laptop/.ssh/id_ed25519"
cp "$hosts/laptop/.ssh/id_ed25519.pub" "$hosts/authorized_keys"
echo "desktop.local $(cut -d' ' -f1,2 "$hosts/host_key.pub")" >"$hosts/known_hosts"
cat >"$hosts/sshd_config" <<EOF
ListenAddress 10.99.0.1:22
HostKey $hosts/host_key
AuthorizedKeysFile $hosts/authorized_keys
PasswordAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
PidFile none
SetEnv HOME=$hosts/desktop PATH=$hosts/bin:$PATH
EOF
# ssh takes its files from the home directory that the system knows, not from HOME.
cat >"$hosts/bin/ssh" <<EOF
#!/bin/sh
exec $(command -v ssh) -F none -o UserKnownHostsFile=$hosts/known_hosts -o IdentityFile=$hosts/laptop/.ssh/id_ed25519 -o IdentitiesOnly=yes "\$@"
EOF
chmod +x "$hosts/bin/ssh"
mkdir -p /run/sshd
in_background desktop sshd.log "$sshd" -D -e -f "$hosts/sshd_config"

echo "from desktop" >"$hosts/desktop/shared/desktop.txt"
echo "from laptop" >"$hosts/laptop/shared/laptop.txt"
in_background laptop laptop.log resonate -dir shared -peer "ssh://root@desktop.local$hosts/desktop/shared"
until_true 60 "a login leads to a folder without a daemon" same desktop laptop
down laptop TERM
none() { ! pgrep -f "^resonate serve -stdio -dir $hosts/" >/dev/null; }
until_true 60 "nothing goes on there without the login" none

in_background desktop desktop.log resonate -dir shared
running() { on "$1" resonate status -dir shared; }
until_true 60 "desktop's daemon runs" running desktop
echo "while laptop was away" >"$hosts/desktop/shared/away.txt"
in_background laptop laptop.log resonate -dir shared -peer "ssh://root@desktop.local$hosts/desktop/shared"
until_true 60 "a login leads to a daemon that runs" same desktop laptop
[ "$(on laptop resonate peers -dir shared -json | grep -c '"short"')" = 2 ] || { echo "they are not two members" >&2; exit 1; }

down laptop TERM
# Of that name there are others on the machine, perhaps: only the one of desktop is meant.
kill -TERM $(comm -12 <(pgrep -f "^resonate -dir shared$" | sort) <(ip netns pids "$tag-desktop" | sort)) 2>/dev/null || true
until_true 60 "desktop's daemon has ended" bash -c "! ip netns exec $tag-desktop ss -ltn | grep -q 7373"
rm -r "$hosts/desktop/shared/.resonate" "$hosts/desktop/.local"
in_background laptop laptop.log resonate -dir shared -peer "ssh://root@desktop.local$hosts/desktop/shared"
refused() { grep -q 'another node is there than before' "$hosts/laptop.log"; }
until_true 60 "another node at that address is refused" refused
