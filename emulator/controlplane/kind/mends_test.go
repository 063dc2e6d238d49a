package kind

import (
	"errors"
	"strings"
	"testing"
)

func TestWithMend(t *testing.T) {
	for said, want := range map[string]string{
		"docker run: write /var/lib/docker/tmp/x: no space left on device":                                           "docker image prune",
		"failed to bind host port 127.0.0.1:6500/tcp: address already in use":                                        "--cluster-ports",
		"Bind for 127.0.0.1:6500 failed: port is already allocated":                                                  "--cluster-ports",
		"privileged mode is incompatible with user namespaces":                                                       "ekslocal doctor",
		"OCI runtime create failed: unable to apply caps: operation not permitted: unknown":                          "ekslocal doctor",
		"could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network": "docker network rm",
		"fork/exec: Cannot allocate memory":                                                                          "memory",
		"something else":                                                                                             "",
	} {
		cause := errors.New(said)
		err := withMend(cause)
		if !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), said) {
			t.Errorf("%q became %q", said, err)
		}
		if mend := strings.TrimPrefix(err.Error(), said); !strings.Contains(mend, want) || (mend == "") != (want == "") {
			t.Errorf("of %q: %q, want %q in it", said, mend, want)
		}
	}
}
