package kind

import (
	"errors"
	"strings"
	"testing"
)

// TestEngineAway: what docker says when it does not come to its daemon, in the words of
// its versions, is not an answer of the daemon's.
func TestEngineAway(t *testing.T) {
	for said, away := range map[string]bool{
		"failed to connect to the docker API at unix:///var/run/docker.sock; check if the path is correct and if the daemon is running: dial unix /var/run/docker.sock: connect: no such file or directory":                   true,
		"docker: failed to connect to the docker API at tcp://192.0.2.1:2375; check if the path is correct and if the daemon is running: dial tcp: lookup nowhere: no such host":                                              true,
		"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?":                                                                                                                   true,
		"ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\nerrors pretty printing info":                                                                               true,
		"error during connect: Get \"http://%2F%2F.%2Fpipe%2Fdocker_engine/v1.48/info\": open //./pipe/docker_engine: The system cannot find the file specified.":                                                             true,
		"permission denied while trying to connect to the docker API at unix:///var/run/docker.sock":                                                                                                                          true,
		"docker: permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Post \"http://x/v1.48/containers/create\": dial unix /var/run/docker.sock: connect: permission denied": true,
		"Error response from daemon: No such container: ekslocal-0":                                                                                                                                                           false,
		"Error response from daemon: Get \"https://registry/v2/\": failed to connect to the docker API elsewhere":                                                                                                             false,
	} {
		e := fakeDocker(t, "cat >&2 <<'END'\n"+said+"\nEND\nexit 1\n")
		if _, err := e.run(t.Context(), nil, "ps"); err == nil || errors.Is(err, ErrNoEngine) != away {
			t.Errorf("%s: %v", said, err)
		}
		c, err := e.inspect(t.Context(), "ekslocal-0")
		if gone := c == nil && err == nil; gone != strings.Contains(said, "No such container") {
			t.Errorf("%s: a container seems gone: %v", said, err)
		}
		if n, err := e.network(t.Context(), kindNetwork); n == nil && err == nil && away {
			t.Errorf("%s: a network seems gone", said)
		}
	}
}

// TestInspectOne: whatever else the engine answers is an error that says so.
func TestInspectOne(t *testing.T) {
	for answer, want := range map[string]string{"[]": "0 answers", "[{}, {}]": "2 answers", "{": "unexpected end"} {
		_, err := fakeDocker(t, "echo '"+answer+"'").inspect(t.Context(), "x")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
