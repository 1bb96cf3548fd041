#!/usr/bin/env bash
# Runs the lines of README.md that pair two machines, verbatim and on terminals of their own: each `desktop$` and `laptop$` line of the
# section "Two machines", with the code that the first one prints in place of the README's. Run it as root on Linux:
#   RESONATE=$(which resonate) testdata/readme-pairing.sh
source "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
readme=$(dirname "${BASH_SOURCE[0]}")/../README.md

hosts_up desktop laptop

# typed HOST LINE: types a line at a terminal of a machine, and leaves it running.
typed() {
	echo "$1\$ $2"
	TERM=xterm SHELL=/bin/bash on "$1" script -qfec "$2" /dev/null </dev/null >>"$hosts/$1.log" 2>&1 &
}
code() { tr -d '\r' <"$hosts/desktop.log" | grep -o '[0-9A-HJKMNP-TV-Z]\{4\}\(-[0-9A-HJKMNP-TV-Z]\{4\}\)\{7\}' | head -n 1; }
printed() { [ -n "$(code)" ]; }

section=$(sed -n '/^## Two machines/,/^## [^T]/p' "$readme")
lines=$(grep -oE '^ *(desktop|laptop)\$ (mkdir|echo|resonate (invite|join)).*' <<<"$section")
[ "$(wc -l <<<"$lines")" -ge 3 ] || { echo "the README has no lines to pair two machines by" >&2; exit 1; }
while read -r prompt line; do
	host=${prompt%\$}
	if [[ $line == *" join "* ]]; then
		until_true 60 "the code is printed" printed
		line=$(sed -E "s/(join [^ ]+) [^ ]+/\1 $(code)/" <<<"$line")
	fi
	typed "$host" "$line"
	[[ $line == *resonate* ]] || wait $!
done <<<"$lines"
arrived() { [ -n "$(ls "$hosts/laptop/shared" 2>/dev/null)" ] && same desktop laptop; }
until_true 60 "laptop has what desktop has" arrived
echo "from the laptop" >"$hosts/laptop/shared/back.txt"
until_true 60 "desktop has what laptop has made" same desktop laptop
