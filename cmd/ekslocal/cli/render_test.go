package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/api/admin"
)

func TestRenderStatus(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	base := admin.Status{
		Version: "1.2.3", Endpoint: "http://127.0.0.1:4566", PID: 42, StartedAt: start, Uptime: 4000,
		IAM: "enforce", DataDir: "/home/me/.local/state/ekslocal/data", MemoryBytes: 150 << 20, Store: admin.Store{SizeBytes: 3_500_000, QuotaBytes: 8 << 30},
	}
	full := base
	full.ContainerEndpoint = "http://172.18.0.1:40001"
	full.Clusters = []admin.Cluster{
		{Account: "000000000000", Region: "us-east-1", Name: "dev", Status: "ACTIVE", Version: "1.34", Endpoint: "https://127.0.0.1:6500",
			Nodes: admin.Count{Total: 3, Ready: 3}, Pods: admin.Count{Total: 29, Ready: 28}, IPs: admin.IPs{Used: 64, Total: 753},
			PID: 43, MemoryBytes: 260 << 20, CreatedAt: start.Add(time.Minute)},
		{Account: "111122223333", Region: "eu-west-1", Name: "a-longer-name", Status: "CREATING", Version: "1.36", CreatedAt: start.Add(3999 * time.Second)},
	}
	alarmed := base
	alarmed.Ephemeral, alarmed.Store.Alarms, alarmed.Store.SizeBytes = true, []string{"NOSPACE", "CORRUPT"}, 8<<30
	for name, st := range map[string]admin.Status{"status-empty": base, "status-clusters": full, "status-alarms": alarmed} {
		var out bytes.Buffer
		if err := renderStatus(&out, &st); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".golden", out.Bytes())
	}
}

func TestRenderSessions(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	list := admin.Sessions{Time: now, Sessions: []admin.Session{
		{AccessKeyID: "ASIAIOSFODNN7EXAMPLE", ARN: "arn:aws:sts::111122223333:assumed-role/ops/me", Operation: "AssumeRole",
			By: "arn:aws:iam::111122223333:user/alice", Expires: now.Add(59 * time.Minute)},
		{AccessKeyID: "ASIAI44QH8DHBEXAMPLE", ARN: "arn:aws:sts::111122223333:assumed-role/reader/pod", Operation: "AssumeRoleWithWebIdentity",
			By: "system:serviceaccount:shop:cart", Expires: now.Add(5 * time.Hour)},
	}}
	var out, none bytes.Buffer
	if err := renderSessions(&out, &list); err != nil {
		t.Fatal(err)
	}
	golden(t, "status-sessions.golden", out.Bytes())
	if err := renderSessions(&none, &admin.Sessions{}); err != nil || none.String() != "No temporary credentials are good now.\n" {
		t.Errorf("without sessions: %q, %v", none.String(), err)
	}
}

func TestAge(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"}, {59 * time.Second, "59s"}, {119 * time.Second, "119s"}, {150 * time.Second, "2m30s"}, {time.Hour, "60m"},
		{5*time.Hour + 7*time.Minute, "5h7m"}, {50 * time.Hour, "2d"},
	} {
		if got := age(tc.d); got != tc.want {
			t.Errorf("age(%v) = %s, want %s", tc.d, got, tc.want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 KiB", 1: "1 KiB", 3 << 20: "3.0 MiB", 260 << 20: "260 MiB", 3 << 29: "1.5 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestRenderEnv(t *testing.T) {
	for _, shell := range []string{"bash", "fish", "powershell"} {
		var out bytes.Buffer
		err := renderEnv(&out, shell, [][2]string{{"AWS_ENDPOINT_URL", "http://127.0.0.1:4566"}, {"ODD", `it's a \ "test" $HOME`}})
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "env-"+shell+".golden", out.Bytes())
	}
}

func TestEnvCommand(t *testing.T) {
	s := newShell(t)
	s.env["SHELL"], s.env["AWS_DEFAULT_REGION"] = "/usr/bin/fish", "eu-west-1"
	want := `set -gx AWS_ENDPOINT_URL 'http://127.0.0.1:4566';
set -gx AWS_ACCESS_KEY_ID '111122223333';
set -gx AWS_SECRET_ACCESS_KEY 'test';
set -gx AWS_REGION 'eu-west-1';
set -gx AWS_DEFAULT_REGION 'eu-west-1';
`
	if got := s.must("env", "--account", "111122223333"); got != want {
		t.Errorf("got\n%s", got)
	}
}
