package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ekslocal/ekslocal/api/admin"
)

// emulator is one running ekslocal process.
type emulator struct {
	t        *testing.T
	binary   string
	dataDir  string
	listen   string
	ports    string
	endpoint string
	args     []string
	environ  []string // beside the test's own
	cmd      *exec.Cmd
	log      *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// binary is the program under test; make builds it and says where it is.
func binary(t *testing.T) string {
	t.Helper()
	b := os.Getenv("EKSLOCAL_BINARY")
	if b == "" {
		b = filepath.Join("..", "bin", "ekslocal")
	}
	abs, err := filepath.Abs(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(abs); err != nil {
		t.Skipf("no ekslocal binary: run `make build` first, or set EKSLOCAL_BINARY (%v)", err)
	}
	return abs
}

// freePorts finds n consecutive ports nobody listens on.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 50 {
		// Below the range from which the system gives ports to clients, one of which
		// could otherwise be in the way later.
		first := 12000 + rand.IntN(20000-n)
		ok := true
		for p := first; p < first+n && ok; p++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if ok = err == nil; ok {
				l.Close()
			}
		}
		if ok {
			return first
		}
	}
	t.Fatal("no free range of ports")
	return 0
}

// start runs an emulator of the test's own and ends it with the test. It keeps no
// spare control plane: on a small machine that only competes with the test.
func start(t *testing.T, args ...string) *emulator {
	t.Helper()
	return startAs(t, append([]string{"--no-spare"}, args...)...)
}

// startAs runs an emulator with just these flags.
func startAs(t *testing.T, args ...string) *emulator {
	t.Helper()
	return startWith(t, nil, args...)
}

// startWith runs one whose environment has more than the test's.
func startWith(t *testing.T, environ []string, args ...string) *emulator {
	t.Helper()
	first := freePorts(t, 11)
	e := &emulator{
		t: t, binary: binary(t), dataDir: t.TempDir(), listen: fmt.Sprintf("127.0.0.1:%d", first),
		ports: fmt.Sprintf("%d-%d", first+1, first+10), endpoint: fmt.Sprintf("http://127.0.0.1:%d", first), args: args, environ: environ,
	}
	e.run()
	t.Cleanup(func() {
		e.stop()
		if t.Failed() {
			t.Logf("emulator's log, without requests that went well:\n%s", lastLines(withoutRequests(e.log.String()), 120))
		}
	})
	return e
}

var request = regexp.MustCompile(`(?m)^.* msg=request .* status=200 .*\n`)

func withoutRequests(log string) string { return request.ReplaceAllString(log, "") }

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}

// run starts the process and waits until it is healthy.
func (e *emulator) run() {
	e.t.Helper()
	if e.log == nil {
		e.log = &lockedBuffer{}
	}
	args := append([]string{"start", "--listen", e.listen, "--data-dir", e.dataDir, "--cluster-ports", e.ports}, e.args...)
	e.cmd = exec.Command(e.binary, args...)
	e.cmd.Stdout, e.cmd.Stderr = e.log, e.log
	e.cmd.Env = append(os.Environ(), e.environ...)
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	eventually(e.t, 20*time.Second, "the emulator is healthy", func() error {
		if err := e.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			return fmt.Errorf("%w\n%s", err, e.log.String())
		}
		r, err := http.Get(e.endpoint + "/_ekslocal/health")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, lastLines(e.log.String(), 5))
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("health: %s", r.Status)
		}
		return nil
	})
}

func (e *emulator) stop() {
	if e.cmd == nil {
		return
	}
	_ = e.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = e.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		e.t.Error("the emulator did not end within 20 s of SIGTERM")
		_ = e.cmd.Process.Kill()
		<-done
	}
	e.cmd = nil
}

// restart goes on with the same data and other flags.
func (e *emulator) restart(args ...string) {
	e.t.Helper()
	e.stop()
	e.args = args
	e.run()
}

// kill ends the process as a crash does.
func (e *emulator) kill() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
	e.cmd = nil
}

func (e *emulator) status() admin.Status {
	e.t.Helper()
	r, err := http.Get(e.endpoint + "/_ekslocal/status")
	if err != nil {
		e.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	var s admin.Status
	if err := json.Unmarshal(b, &s); err != nil {
		e.t.Fatalf("%v in %s", err, b)
	}
	return s
}

const region = "us-east-1"

func (e *emulator) config() aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: &e.endpoint, Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
}

type clients struct {
	eks *eks.Client
	ec2 *ec2.Client
	iam *iam.Client
	sts *sts.Client
	ssm *ssm.Client
}

func (e *emulator) clients() clients { return e.clientsOf("test") }

// clientsOf are the clients of whom an access key belongs to: twelve digits are an
// account of their own.
func (e *emulator) clientsOf(accessKey string) clients {
	c := e.config()
	c.Credentials = credentials.NewStaticCredentialsProvider(accessKey, "test", "")
	return clients{eks.NewFromConfig(c), ec2.NewFromConfig(c), iam.NewFromConfig(c), sts.NewFromConfig(c), ssm.NewFromConfig(c)}
}

// env is the environment that the README tells users to set.
func (e *emulator) env(kubeconfig string) []string {
	return append(os.Environ(),
		"AWS_ENDPOINT_URL="+e.endpoint, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION="+region,
		"AWS_DEFAULT_REGION="+region, "AWS_EC2_METADATA_DISABLED=true", "KUBECONFIG="+kubeconfig, "HOME="+filepath.Dir(kubeconfig))
}

// patience is how much slower a busy machine may be.
const patience = 3

// eventually waits for f to succeed: what it looks at is in another process, so
// that there is nothing to be told by. within is for an idle machine.
func eventually(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()
	within *= patience
	if err := poll(within, f); err != nil {
		t.Fatalf("not within %v: %s: %v", within, what, err)
	}
}

// poll calls f until it has no error, for as long as within; then it returns f's last. Most
// of the time it does nothing: what it waits for needs the processor too.
func poll(within time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for {
		began := time.Now()
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(min(max(50*time.Millisecond, 3*time.Since(began)), time.Second)):
		case <-ctx.Done():
			return err
		}
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// tool skips the test on machines without a client that it drives.
func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return p
}

func runTool(t *testing.T, env []string, stdin string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdin = env, strings.NewReader(stdin)
	var out, errb bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errb
	if err := cmd.Run(); err != nil {
		return out.String(), errors.Join(fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err), errors.New(strings.TrimSpace(errb.String())))
	}
	return out.String(), nil
}
