package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/spf13/pflag"

	"github.com/ekslocal/ekslocal/api/admin"
	adminserver "github.com/ekslocal/ekslocal/emulator/admin"
)

var update = flag.Bool("update", false, "write the golden files")

// asCLI makes the test binary be the program, for what starts it again.
const asCLI = "EKSLOCAL_TEST_AS_CLI"

func TestMain(m *testing.M) {
	if os.Getenv(asCLI) != "" {
		os.Exit(Main(Program{Version: "1.2.3", Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr, New: newFake}))
	}
	os.Exit(m.Run())
}

// TestForeignFlags is a package that registers a flag for every command line, as
// one of Kubernetes does.
func TestForeignFlags(t *testing.T) {
	pflag.CommandLine.Duration("version", 0, "not ours")
	var out, errb bytes.Buffer
	if code := Main(Program{Version: "1.2.3", Args: []string{"--version"}, Stdout: &out, Stderr: &errb}); code != 0 || out.String() != "ekslocal version 1.2.3\n" {
		t.Errorf("--version: %d %q %q", code, out.String(), errb.String())
	}
	if code := Main(Program{Args: []string{"status", "--version=1s"}, Stdout: &out, Stderr: &errb}); code == 0 || !strings.Contains(errb.String(), "unknown flag: --version") {
		t.Errorf("status --version: %d %q", code, errb.String())
	}
}

// fake is an emulator that only answers the admin API.
type fake struct {
	cfg    Config
	l      net.Listener
	served chan error
	stop   chan struct{}
	once   sync.Once
	status admin.Status
}

func newFake(cfg Config) (Emulator, error) {
	return &fake{cfg: cfg, served: make(chan error, 1), stop: make(chan struct{})}, nil
}

func (f *fake) Start(context.Context) error {
	if strings.HasSuffix(f.cfg.DataDir, "bad") {
		return errors.New("the state is of a newer version")
	}
	l, err := net.Listen("tcp", f.cfg.Listen)
	if err != nil {
		return err
	}
	f.l = l
	r := mux.NewRouter()
	adminserver.Register(r, f, f.cfg.Log)
	go func() { f.served <- http.Serve(l, r) }()
	return nil
}

func (f *fake) Endpoint() string { return "http://" + f.l.Addr().String() }
func (f *fake) Stop()            { f.once.Do(func() { close(f.stop) }) }
func (f *fake) Close() error     { return f.l.Close() }

func (f *fake) Wait() error {
	select {
	case <-f.stop:
		return nil
	case err := <-f.served:
		return err
	}
}

func (f *fake) Health(context.Context) admin.Health {
	return admin.Health{Status: admin.Running, Version: "1.2.3", PID: os.Getpid()}
}
func (f *fake) AddressUse(_ context.Context, q admin.AddressQuery) (admin.AddressUse, error) {
	if q.Cluster != "" {
		return admin.AddressUse{}, &admin.Error{StatusCode: 404, Code: "ClusterNotFound", Message: "there is no cluster " + q.Cluster}
	}
	return admin.AddressUse{Time: time.Unix(1700000000, 0).UTC()}, nil
}
func (f *fake) Decisions(_ context.Context, q admin.DecisionQuery) (admin.Decisions, error) {
	if q.Denied {
		return admin.Decisions{Mode: "enforce"}, nil
	}
	return decided, nil
}
func (f *fake) SubnetHoldings(context.Context, string) (admin.SubnetHoldings, error) {
	return admin.SubnetHoldings{
		SubnetUse: admin.SubnetUse{Account: "000000000000", VPC: "vpc-1", ID: "subnet-a", Zone: "us-east-1a", CIDR: "10.0.0.0/24", Size: 256, Free: 253},
		Holdings: []admin.Holding{
			{Address: "10.0.0.0", Owner: "reserved-network"},
			{Address: "10.0.0.4", Owner: "eni-secondary", InterfaceID: "eni-1", InstanceID: "i-1", Description: "aws-K8S-i-1", Pod: "default/web"},
			{Address: "10.0.0.16", Owner: "prefix", Prefix: "10.0.0.16/28", InterfaceID: "eni-1", InstanceID: "i-1", Description: "aws-K8S-i-1"},
		},
	}, nil
}
func (f *fake) Status(context.Context) (admin.Status, error) { return f.status, nil }
func (f *fake) PodCredentials(_ context.Context, q admin.PodQuery) (*admin.PodCredentials, error) {
	if q.Pod == "stranger" {
		return refusedPod(), nil
	}
	return servedPod(), nil
}
func (f *fake) Sessions(context.Context) admin.Sessions { return admin.Sessions{} }
func (f *fake) CA(context.Context) ([]byte, error)      { return []byte("PEM\n"), nil }
func (f *fake) Reset(context.Context) error             { return nil }

// shell runs the command line in this process with an environment of its own.
type shell struct {
	t   *testing.T
	env map[string]string
}

func newShell(t *testing.T) *shell {
	return &shell{t, map[string]string{"XDG_STATE_HOME": t.TempDir(), "HOME": t.TempDir()}}
}

func (s *shell) run(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = Main(Program{
		Version: "1.2.3", New: newFake, Args: args, Stdout: &out, Stderr: &errs,
		Getenv:     func(k string) string { return s.env[k] },
		Executable: func() (string, error) { return os.Args[0], nil },
	})
	return out.String(), errs.String(), code
}

func (s *shell) must(args ...string) string {
	s.t.Helper()
	out, errs, code := s.run(args...)
	if code != 0 {
		s.t.Fatalf("ekslocal %s: status %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestErrorsAreOneSentence(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"strat"}, "ekslocal: there is no command \"strat\": `ekslocal help` lists them\n"},
		{[]string{"start", "--nope"}, "ekslocal: unknown flag: --nope: see `ekslocal start --help`\n"},
		{[]string{"start", "--listen", "4566"}, "ekslocal: --listen 4566 is not host:port, such as 127.0.0.1:4566\n"},
		{[]string{"start", "--cluster-ports", "9-1"}, "ekslocal: --cluster-ports 9-1 is not a range of ports, such as 6500-6599\n"},
		{[]string{"start", "--auth", "none"}, "ekslocal: --auth none is neither strict nor lax\n"},
		{[]string{"start", "--iam", "on"}, "ekslocal: --iam on is none of enforce, audit and off\n"},
		{[]string{"start", "--log-format", "xml"}, "ekslocal: --log-format xml is neither text nor json\n"},
		{[]string{"start", "--log-level", "loud"}, "ekslocal: --log-level loud is not debug, info, warn or error\n"},
		{[]string{"start", "--ephemeral", "--data-dir", "x"}, "ekslocal: --ephemeral keeps nothing, so --data-dir has no meaning with it: leave one out\n"},
		{[]string{"status", "--endpoint", "http://127.0.0.1:1"}, "ekslocal: ekslocal is not running at http://127.0.0.1:1: start it with `ekslocal start`\n"},
		{[]string{"status", "-o", "yaml"}, "ekslocal: -o yaml is neither table nor json\n"},
		{[]string{"ips", "--endpoint", "http://127.0.0.1:1"}, "ekslocal: ekslocal is not running at http://127.0.0.1:1: start it with `ekslocal start`\n"},
		{[]string{"ips", "-o", "yaml"}, "ekslocal: -o yaml is not table, wide or json\n"},
		{[]string{"ips", "--subnet", "subnet-a", "--watch"}, "ekslocal: --subnet shows each address once: leave out --cluster, --region, --account and --watch\n"},
		{[]string{"env", "--shell", "cmd"}, "ekslocal: --shell cmd is not bash, zsh, fish or powershell\n"},
		{[]string{"env", "--account", "12"}, "ekslocal: --account 12 is not an AWS account id of 12 digits\n"},
		{[]string{"token"}, "ekslocal: required flag(s) \"cluster-name\" not set\n"},
	} {
		if _, got, code := newShell(t).run(tc.args...); got != tc.want || code != 1 {
			t.Errorf("%v: status %d, %q; want %q", tc.args, code, got, tc.want)
		}
	}
}

func TestDefaultDataDir(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/ekslocal/data"},
		{map[string]string{"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/ekslocal/data"},
		{map[string]string{"HOME": "/h"}, "/h/.local/state/ekslocal/data"},
		{nil, ""},
	} {
		a := &app{Program: Program{Getenv: func(k string) string { return tc.env[k] }}}
		cfg, err := a.config(startFlags{listen: "127.0.0.1:0", ports: "1-2", auth: "lax", iam: "audit", backend: "embedded", nodeResources: "type", webhooks: "skip", logFormat: "json", logLevel: "info"}, &bytes.Buffer{})
		if cfg.DataDir != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%v: %q, %v; want %q", tc.env, cfg.DataDir, err, tc.want)
		}
	}
}
