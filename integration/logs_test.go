package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// logShell is a user who reads a cluster's control-plane logs with the aws CLI.
type logShell struct {
	*world
	env []string
}

func (s *logShell) aws(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runTool(t, s.env, "", "aws", args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (s *logShell) kubectl(t *testing.T, args ...string) {
	t.Helper()
	if _, err := runTool(t, s.env, "", "kubectl", args...); err != nil {
		t.Fatal(err)
	}
}

// created counts the audit events that tell of a namespace's creation.
func (s *logShell) created(t *testing.T, namespace string) int {
	t.Helper()
	var messages []string
	out := s.aws(t, "logs", "filter-log-events", "--log-group-name", "/aws/eks/dev/cluster", "--log-stream-name-prefix", "kube-apiserver-audit-", "--filter-pattern",
		`{ $.verb = "create" && $.objectRef.resource = "namespaces" && $.objectRef.name = "`+namespace+`" && $.stage = "ResponseComplete" }`,
		"--query", "events[].message", "--output", "json")
	if err := json.Unmarshal([]byte(out), &messages); err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		var e struct{ APIVersion, Kind, Level string }
		if err := json.Unmarshal([]byte(m), &e); err != nil || e.APIVersion != "audit.k8s.io/v1" || e.Kind != "Event" || e.Level != "RequestResponse" {
			t.Errorf("not an audit event: %s, %v", m, err)
		}
	}
	return len(messages)
}

// setLogs changes what is delivered and waits until the update is over.
func (s *logShell) setLogs(t *testing.T, enabled bool, types ...ekstypes.LogType) {
	t.Helper()
	must(s.eks.UpdateClusterConfig(t.Context(), &eks.UpdateClusterConfigInput{Name: aws.String("dev"), Logging: &ekstypes.Logging{
		ClusterLogging: []ekstypes.LogSetup{{Enabled: &enabled, Types: types}},
	}}))(t)
	s.clusterIs(t, "dev", ekstypes.ClusterStatusActive)
}

// TestControlPlaneLogs reads with the real clients what a cluster's control plane
// logs, while logging is turned off and on and the emulator is killed.
func TestControlPlaneLogs(t *testing.T) {
	t.Parallel()
	tool(t, "aws")
	tool(t, "kubectl")
	e := start(t)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	s := &logShell{newWorld(t, e), e.env(kubeconfig)}
	key := s.aws(t, "kms", "create-key", "--query", "KeyMetadata.Arn", "--output", "text")
	all := ekstypes.LogType("").Values()
	s.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.Logging = &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Enabled: aws.Bool(true), Types: all}}}
		in.EncryptionConfig = []ekstypes.EncryptionConfig{{Resources: []string{"secrets"}, Provider: &ekstypes.Provider{KeyArn: &key}}}
	})
	s.aws(t, "eks", "update-kubeconfig", "--name", "dev")
	pid := e.status().Clusters[0].PID

	s.kubectl(t, "create", "namespace", "first")
	eventually(t, 15*time.Second, "the audit log has the namespace", func() error { return once(s.created(t, "first")) })
	t.Run("streams", func(t *testing.T) {
		var got []string
		for _, n := range strings.Fields(s.aws(t, "logs", "describe-log-streams", "--log-group-name", "/aws/eks/dev/cluster", "--query", "logStreams[].logStreamName", "--output", "text")) {
			got = append(got, n[:strings.LastIndex(n, "-")])
		}
		slices.Sort(got) // by their beginnings; CloudWatch sorts them with the id behind
		if want := []string{"authenticator", "kube-apiserver", "kube-apiserver-audit", "kube-controller-manager", "kube-scheduler"}; !slices.Equal(got, want) {
			t.Errorf("streams of %v", got)
		}
		eventually(t, 15*time.Second, "the authenticator's log has the user", func() error {
			lines := s.aws(t, "logs", "filter-log-events", "--log-group-name", "/aws/eks/dev/cluster", "--filter-pattern", `"access granted" "level=info"`, "--query", "events[].message", "--output", "text")
			if !strings.Contains(lines, `arn="arn:aws:iam::000000000000:root"`) || !strings.Contains(lines, `username="arn:aws:iam::000000000000:root"`) {
				return fmt.Errorf("it says %q", lines)
			}
			return nil
		})
	})
	t.Run("off and on", func(t *testing.T) {
		s.setLogs(t, false, all...)
		s.kubectl(t, "create", "namespace", "silent")
		s.setLogs(t, true, ekstypes.LogTypeAudit)
		s.kubectl(t, "create", "namespace", "second")
		eventually(t, 15*time.Second, "the audit log has the namespace", func() error { return once(s.created(t, "second")) })
		if n := s.created(t, "silent"); n != 0 {
			t.Errorf("%d events of the time without logging", n)
		}
		if now := e.status().Clusters[0].PID; now != pid {
			t.Errorf("the control plane was restarted: %d, before %d", now, pid)
		}
	})
	t.Run("key", func(t *testing.T) { s.keyHealth(t, key) })
	t.Run("kill", func(t *testing.T) {
		s.kubectl(t, "create", "namespace", "third")
		e.kill()
		e.run()
		eventually(t, 30*time.Second, "the audit log has the namespace once", func() error { return once(s.created(t, "third")) })
		for _, ns := range []string{"first", "second"} {
			if err := once(s.created(t, ns)); err != nil {
				t.Errorf("%s: %v", ns, err)
			}
		}
	})
	t.Run("delete", func(t *testing.T) {
		must(s.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("dev")}))(t)
		eventually(t, 30*time.Second, "the cluster is gone", func() error {
			if _, err := s.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("dev")}); err == nil {
				return fmt.Errorf("it is there")
			}
			return nil
		})
		if err := once(s.created(t, "first")); err != nil { // the log group stays
			t.Error(err)
		}
		if n := s.aws(t, "kms", "list-grants", "--key-id", key, "--query", "length(Grants)"); n != "0" {
			t.Errorf("%s grants are left", n)
		}
	})
}

func once(n int) error {
	if n != 1 {
		return fmt.Errorf("%d events", n)
	}
	return nil
}

// keyHealth watches the cluster's health while its key changes.
func (s *logShell) keyHealth(t *testing.T, key string) {
	issues := func(want string) {
		t.Helper()
		eventually(t, 10*time.Second, "the cluster's health says "+want, func() error {
			if got := s.aws(t, "eks", "describe-cluster", "--name", "dev", "--query", "cluster.health.issues[].code", "--output", "text"); got != want {
				return fmt.Errorf("it says %q", got)
			}
			return nil
		})
	}
	issues("")
	s.aws(t, "kms", "disable-key", "--key-id", key)
	issues("KmsKeyDisabled")
	s.aws(t, "kms", "schedule-key-deletion", "--key-id", key)
	issues("KmsKeyMarkedForDeletion")
	s.aws(t, "kms", "cancel-key-deletion", "--key-id", key)
	s.aws(t, "kms", "enable-key", "--key-id", key)
	issues("")
	s.aws(t, "kms", "revoke-grant", "--key-id", key, "--grant-id", s.aws(t, "kms", "list-grants", "--key-id", key, "--query", "Grants[0].GrantId", "--output", "text"))
	issues("KmsGrantRevoked")
}
