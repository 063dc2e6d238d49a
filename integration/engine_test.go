package integration

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

func running(t *testing.T, container string) bool {
	t.Helper()
	var s struct{ Running bool }
	if err := json.Unmarshal([]byte(docker(t, "inspect", container, "--format", "{{json .State}}")), &s); err != nil {
		t.Fatal(err)
	}
	return s.Running
}

func containerOf(t *testing.T, c *ekstypes.Cluster, suffix string) string {
	t.Helper()
	for _, name := range containersOf(t, c) {
		if strings.HasSuffix(name, suffix) {
			return name
		}
	}
	t.Fatalf("there is no container of %s", suffix)
	return ""
}

func clusterLabel(c *ekstypes.Cluster) string {
	issuer := *c.Identity.Oidc.Issuer
	return "ekslocal-" + strings.ToLower(issuer[strings.LastIndexByte(issuer, '/')+1:])
}

// networksOf are the engine's networks of a VPC.
func networksOf(t *testing.T, vpc string) []string {
	t.Helper()
	return strings.Fields(docker(t, "network", "ls", "--filter", "label=ekslocal.dev/vpc="+vpc, "--format", "{{.Name}}"))
}

func dockerOut(args ...string) (string, error) {
	out, err := exec.Command("docker", args...).CombinedOutput()
	return string(out), err
}

func dockerOK(args ...string) bool {
	_, err := dockerOut(args...)
	return err == nil
}

func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := dockerOut(args...)
	if err != nil {
		t.Fatalf("docker %v: %v: %s", args, err, out)
	}
	return out
}
