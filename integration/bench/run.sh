#!/usr/bin/env bash
# All figures of docs/performance.md that come from outside the process. Takes
# about ten minutes and wants the machine to itself.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${EKSLOCAL_BINARY:=bin/ekslocal}"
export EKSLOCAL_BINARY XDG_STATE_HOME=${XDG_STATE_HOME:-$(mktemp -d)}
exec "${GO:-go}" run ./integration/bench "$@"
