#!/usr/bin/env bash
# make test-kind: the kind backend's tests, on a machine that need have nothing but Go.
# Uses the Docker engine that answers, or installs Debian's and runs one of its own for
# as long as the tests take. Uses the node image in $EKSLOCAL_KIND_NODE_IMAGE, or builds
# one (integration/kind/nodeimage/build.sh). Removes what it started.
#
#   run.sh           the suite; ends with 77 where privileged containers cannot run
#   run.sh all       and what befalls clusters on bad days (make test-kind-all)
#   run.sh fetch     only what waits for the network, to have it when the tests begin
set -euo pipefail
cd "$(dirname "$0")/../.."
GO=${GO:-go}
began=$(date +%s)
say() { echo "test-kind: $*"; }
lap() { printf 'test-kind: %4d s  %s\n' $(($(date +%s) - began)) "$1"; }
cannot() { say "cannot run here: $*"; exit 77; }

root=$PWD
work=$(mktemp -d /tmp/ekslocal-kind.XXXXXX)
daemon= building= waiting= limits=
finish() {
	code=$?
	trap - EXIT
	kill $building 2>/dev/null || true
	pkill -f "$work/[a-z]*[.]test" || true # one of them is in the background, where Ctrl-C is not heard
	if [ -n "$daemon" ]; then
		docker ps -aq | xargs -r docker rm -f -v >/dev/null 2>&1 || true
		kill "$(cat "$work/pid")" 2>/dev/null && { for _ in $(seq 100); do [ -e "$work/pid" ] || break; sleep 0.1; done; }
		# overlay mounts of containers that were killed hard
		awk -v dir="$work" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l 2>/dev/null || true
	elif [ -n "$waiting" ]; then
		docker image rm -f ekslocal/probe:test >/dev/null 2>&1 || true
	fi
	for l in $limits; do echo "${l#*=}" >"${l%=*}" || true; done
	rm -rf "$work"
	exit $code
}
trap finish EXIT INT TERM

# What kind's documentation asks for: all nodes share the limits of one machine, and
# those of small ones end with the fifth node or so.
raise_limits() {
	[ "$(id -u)" = 0 ] || return 0
	local l file was
	for l in max_user_instances:512 max_user_watches:524288; do
		file=/proc/sys/fs/inotify/${l%:*}
		was=$(cat "$file" 2>/dev/null) || continue
		if [ "$was" -lt "${l#*:}" ] && echo "${l#*:}" 2>/dev/null >"$file"; then limits="$limits $file=$was"; fi
	done
}

root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

packages() {
	local missing= p
	for p in docker:docker.io mmdebstrap:mmdebstrap jq:jq; do command -v "${p%%:*}" >/dev/null || missing="$missing ${p#*:}"; done
	docker info >/dev/null 2>&1 || command -v dockerd >/dev/null || missing="$missing docker.io iptables"
	[ -n "$missing" ] || return 0
	root || cannot "it takes$missing, which only root can install, on Debian"
	say "installing$missing"
	exec 9>/tmp/ekslocal-kind.lock
	flock 9 # who fetches ahead may be at it
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$work/apt" 2>&1 ||
		{ tail -n 5 "$work/apt"; cannot "packages cannot be installed:$missing"; }
	exec 9>&-
}

start_engine() {
	[ "$(id -u)" = 0 ] || cannot "no Docker engine answers, and only root can start one"
	say "starting an engine"
	CGO_ENABLED=0 $GO build -o "$work/fitcaps" ./integration/kind/fitcaps
	# In a session of its own: Ctrl-C must leave it to clean up with. A script, for tests
	# start it again too.
	cat >"$work/engine" <<-E
		#!/bin/sh
		if [ -s "$work/pid" ]; then
			kill "\$(cat "$work/pid")"
			for i in \$(seq 150); do [ -e "$work/pid" ] || break; sleep 0.2; done
		fi
		setsid dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" --host "unix://$work/docker.sock" \\
			--add-runtime "fitcaps=$work/fitcaps" --default-runtime fitcaps --default-address-pool base=172.30.0.0/16,size=24 >>"$work/log" 2>&1 &
		for i in \$(seq 150); do docker info >/dev/null 2>&1 && exit 0; sleep 0.2; done
		exit 1
	E
	chmod 755 "$work/engine"
	export DOCKER_HOST=unix://$work/docker.sock EKSLOCAL_KIND_RESTART_ENGINE=$work/engine
	daemon=yes
	"$work/engine" </dev/null || { tail -n 5 "$work/log"; cannot "the engine does not start"; }
}

# A node image takes a quarter of an hour: look before whether its containers would run.
probe() {
	mkdir "$work/probe"
	CGO_ENABLED=0 $GO build -o "$work/probe/probe" ./integration/kind/probe
	waiting=yes
	tar -C "$work/probe" -c probe | docker import --change 'ENTRYPOINT ["/probe"]' - ekslocal/probe:test >/dev/null
	docker run --rm --privileged ekslocal/probe:test >"$work/said" 2>&1 || cannot "a privileged container does not: $(tail -n 3 "$work/said" | tr '\n' ' ')"
}

if [ "${1:-}" = fetch ]; then
	packages
	[ -n "${EKSLOCAL_KIND_NODE_IMAGE:-}" ] || bash integration/kind/nodeimage/build.sh fetch
	exit 0
fi

packages
docker info >/dev/null 2>&1 || start_engine
probe
lap "privileged containers run"
raise_limits

# The image computes, these tests do next to nothing.
if [ -z "${EKSLOCAL_KIND_NODE_IMAGE:-}" ]; then
	export EKSLOCAL_KIND_NODE_IMAGE=ekslocal/node:test
	bash integration/kind/nodeimage/build.sh "$EKSLOCAL_KIND_NODE_IMAGE" &
	building=$!
fi
results=$work/results failed=0
compile() { CGO_ENABLED=0 $GO test -c -o "$work/$1.test" "./$2" >"$results.$1" 2>&1; }
run() { # name, title, package, then arguments of the compiled test
	local name=$1 title=$2 package=$3 code=0; shift 3
	(cd "$package" && EKSLOCAL_BINARY=$root/bin/ekslocal CGO_ENABLED=0 $GO tool test2json -t -p "$package" "$work/$name.test" -test.v=test2json -test.timeout 30m "$@") >>"$results.$name" 2>&1 || code=1
	lap "$title"
	return $code
}
{
	CGO_ENABLED=0 $GO test -json -count=1 ./integration/kind/... &&
		(cd integration/kind/nodeimage && CGO_ENABLED=0 $GO test -json -count=1 ./layers ./pause)
} >"$results.tools" 2>&1 || failed=1
compile planes emulator/controlplane/kind || failed=1
compile clusters integration || failed=1
lap "tests of the tools, and the others compiled"
if [ -n "$building" ]; then
	wait "$building" || { say "the node image cannot be built"; exit 1; }
	building=
	lap "the node image is there"
fi
# All of them wait more than they compute, so they do it beside each other. make test has
# TestKindBadDays, which needs no engine.
suite='^TestKind(|Control|Doctor|Nodes|Pods)$'
run planes "control planes" emulator/controlplane/kind -test.parallel 2 -test.run 'TestConformance|TestBadDays|TestRelay' &
planes=$!
run clusters "clusters" integration -test.parallel 4 -test.run "$suite" || failed=1
wait $planes || failed=1
if [ "${1:-}" = all ]; then
	ln "$work/clusters.test" "$work/days.test"
	run days "bad days" integration -test.parallel 3 -test.run '^TestKind' -test.skip "$suite|^TestKindBadDays\$" || failed=1
fi
cat "$results".* >"$results"

# Anything that is not JSON is a build failure: show it.
grep -v '^{' "$results" | head -n 60 || true
$GO run ./.ci/summary <"$results" || failed=1
lap "done"
exit $failed
