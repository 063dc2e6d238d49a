package kind

import (
	"fmt"
	"strings"
)

// mends are what can be done about what engines refuse with, by parts of their words in
// lower case. The first that fits counts. None advises `docker system prune`, or `prune`
// of containers or networks: those of a stopped emulator seem unused, and have its
// clusters' data.
var mends = []struct{ words, mend string }{
	{"no space left on device", "the engine's disk is full: `docker system df` shows with what, `docker image prune` and `docker builder prune` free some"},
	{"address already in use", "another program listens on the cluster's port: stop it, or start ekslocal with another --cluster-ports"},
	{"port is already allocated", "another container has the cluster's port: stop it, or start ekslocal with another --cluster-ports"},
	{"privileged mode is incompatible", privilegesMend},
	{"unable to apply caps", privilegesMend},
	{"operation not permitted", privilegesMend},
	{"could not find an available", "the engine has no network left for a bridge: `docker network ls` shows them, `docker network rm` removes one that nobody needs"},
	{"cannot allocate memory", "the engine's machine has no memory left: stop something, or give it more"},
	{"too many open files", "raise the engine's limits: sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288"},
}

const privilegesMend = "nodes are privileged containers, which this engine does not run: `ekslocal doctor` tells more"

// withMend adds to the error what to do about it, where that is known.
func withMend(err error) error {
	said := strings.ToLower(err.Error())
	for _, m := range mends {
		if strings.Contains(said, m.words) {
			return fmt.Errorf("%w (%s)", err, m.mend)
		}
	}
	return err
}
