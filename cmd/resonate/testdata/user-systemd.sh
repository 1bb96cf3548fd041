#!/bin/sh
# Runs a systemd of a user of its own, without a system that was booted with systemd: in a mount namespace, where /run says
# that it was, and in a control group of its own. Run as root by unshare -m: user-systemd.sh DIR UID. DIR/home is the home
# of user UID. It ends with its standard input.
set -eu
dir=$1 uid=$2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system "/run/user/$uid"
chown "$uid:$uid" "/run/user/$uid" "$dir/home"
chmod 700 "/run/user/$uid" "$dir/home"
groups=
for root in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
	[ -f "$root/cgroup.procs" ] || continue
	mkdir -p "$root/resonate-test-$uid"
	chown -R "$uid:$uid" "$root/resonate-test-$uid"
	echo $$ >"$root/resonate-test-$uid/cgroup.procs"
	groups="$groups $root/resonate-test-$uid"
done
[ -n "$groups" ] || { echo 'no control groups are mounted' >&2; exit 1; }
cd "$dir/home"
setpriv --reuid "$uid" --regid "$uid" --clear-groups env -i "HOME=$dir/home" PATH=/usr/bin:/bin "XDG_RUNTIME_DIR=/run/user/$uid" \
	SYSTEMD_LOG_TARGET=console /usr/lib/systemd/systemd --user </dev/null >&2 &
manager=$!
echo up
cat >/dev/null # until the test ends
kill -TERM "$manager"
wait "$manager" || true
for group in $groups; do
	echo $$ >"$(dirname "$group")/cgroup.procs" # systemd has moved this process, too
	for try in 1 2 3 4 5 6 7 8 9 10; do # the kernel takes a moment to see that they are empty
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[ -d "$group" ] || break
		sleep 0.1
	done
done
