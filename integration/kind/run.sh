#!/usr/bin/env bash
# make test-kind: the kind backend's tests, on a machine that need have nothing but Go.
# Uses the Docker engine that answers, or installs Debian's and runs one of its own for
# as long as the tests take. Uses the node image in $EKSLOCAL_KIND_NODE_IMAGE, or builds
# one (integration/kind/nodeimage/build.sh). Removes what it started.
set -euo pipefail
cd "$(dirname "$0")/../.."
GO=${GO:-go}
say() { echo "test-kind: $*"; }

work=$(mktemp -d /tmp/ekslocal-kind.XXXXXX)
daemon=
finish() {
	code=$?
	trap - EXIT
	if [ -n "$daemon" ]; then
		docker ps -aq | xargs -r docker rm -f -v >/dev/null 2>&1 || true
		kill "$daemon" 2>/dev/null && { for _ in $(seq 100); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done; }
		# overlay mounts of containers that were killed hard
		awk -v dir="$work" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l 2>/dev/null || true
	fi
	rm -rf "$work"
	exit $code
}
trap finish EXIT INT TERM

missing=
for p in docker:docker.io mmdebstrap:mmdebstrap jq:jq; do command -v "${p%%:*}" >/dev/null || missing="$missing ${p#*:}"; done
docker info >/dev/null 2>&1 || command -v dockerd >/dev/null || missing="$missing docker.io iptables"
if [ -n "$missing" ]; then
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { say "needs$missing, which only root can install on Debian"; exit 1; }
	say "installing$missing"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
if ! docker info >/dev/null 2>&1; then
	[ "$(id -u)" = 0 ] || { say "no Docker engine answers, and only root can start one"; exit 1; }
	say "starting an engine"
	CGO_ENABLED=0 $GO build -o "$work/fitcaps" ./integration/kind/fitcaps
	# In a session of its own: Ctrl-C must leave it to clean up with.
	setsid dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" --host "unix://$work/docker.sock" \
		--add-runtime "fitcaps=$work/fitcaps" --default-runtime fitcaps --default-address-pool base=172.30.0.0/16,size=24 >"$work/log" 2>&1 &
	daemon=$!
	export DOCKER_HOST=unix://$work/docker.sock
	for _ in $(seq 100); do docker info >/dev/null 2>&1 && break; kill -0 "$daemon" 2>/dev/null || break; sleep 0.2; done
	docker info >/dev/null 2>&1 || { tail -n 20 "$work/log"; say "the engine does not start"; exit 1; }
fi

if [ -z "${EKSLOCAL_KIND_NODE_IMAGE:-}" ]; then
	export EKSLOCAL_KIND_NODE_IMAGE=ekslocal/node:test
	bash integration/kind/nodeimage/build.sh "$EKSLOCAL_KIND_NODE_IMAGE"
fi
docker run --rm --privileged --entrypoint true "$EKSLOCAL_KIND_NODE_IMAGE" || { say "privileged containers cannot run here"; exit 1; }

(cd integration/kind/nodeimage && $GO test ./layers ./pause)
$GO test ./integration/kind/...
EKSLOCAL_BINARY=$PWD/bin/ekslocal $GO test -count=1 -timeout 20m -v -run 'TestConformance|TestBadDays|TestRevive' ./emulator/controlplane/kind
EKSLOCAL_BINARY=$PWD/bin/ekslocal $GO test -count=1 -timeout 20m -v -run 'TestKind$' ./integration
