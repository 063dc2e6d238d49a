package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ekslocal/ekslocal/api/admin"
)

// shell is one user's session: every emulator in it is known to its commands.
type shell struct {
	*emulator
	env []string
}

// fails runs a command that must fail with exactly one line on stderr.
func (s shell) fails(t *testing.T, want string, args ...string) {
	t.Helper()
	cmd := exec.Command(s.binary, args...)
	var errb bytes.Buffer
	cmd.Env, cmd.Stderr = s.env, &errb
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ekslocal %v: %v, want exit status 1", args, err)
	}
	// What is logged on the way is not the message.
	lines := strings.Split(strings.TrimSpace(errb.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "ekslocal: ") || !strings.Contains(last, want) {
		t.Errorf("ekslocal %v says %q, want %q", args, errb.String(), want)
	}
}

func (s shell) ok(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runTool(t, s.env, "", s.binary, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCLI runs every command against one emulator, and ends it in every way.
func TestCLI(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state) // of the emulator and of the commands
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	e := start(t)
	w := newWorld(t, e)
	c := w.cluster(t, "dev")
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	sh := shell{e, append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+t.TempDir(), "AWS_EC2_METADATA_DISABLED=true")}

	t.Run("version", func(t *testing.T) {
		for _, args := range [][]string{{"version"}, {"--version"}} {
			if out := sh.ok(t, args...); !strings.HasPrefix(out, "ekslocal ") {
				t.Errorf("%v: %q", args, out)
			}
		}
	})
	t.Run("second start", func(t *testing.T) {
		_, port, _ := strings.Cut(e.listen, ":")
		sh.fails(t, "runs already on the data directory "+e.dataDir, "start", "--listen", "127.0.0.1:0", "--data-dir", e.dataDir)
		sh.fails(t, "runs already at "+e.endpoint, "start", "--listen", e.listen, "--ephemeral")
		sh.fails(t, "runs already at "+e.endpoint, "start", "--listen", "localhost:"+port, "--ephemeral", "--detach")
		other := append(os.Environ(), "XDG_STATE_HOME="+t.TempDir()) // somebody who does not know of the first
		shell{e, other}.fails(t, "something else listens on "+e.listen, "start", "--listen", e.listen, "--ephemeral")
		shell{e, other}.fails(t, e.dataDir, "start", "--listen", "127.0.0.1:0", "--data-dir", e.dataDir)
	})
	t.Run("wrong usage", func(t *testing.T) {
		sh.fails(t, `there is no command "strat"`, "strat")
		sh.fails(t, "--listen nonsense is not host:port", "start", "--listen", "nonsense")
		sh.fails(t, "unknown flag: --nonsense", "start", "--nonsense")
		sh.fails(t, "there is no cluster nonsense in us-east-1", "kubeconfig", "nonsense")
	})
	t.Run("status", func(t *testing.T) {
		var st admin.Status
		if err := json.Unmarshal([]byte(sh.ok(t, "status", "-o", "json")), &st); err != nil {
			t.Fatal(err)
		}
		if st.Endpoint != e.endpoint || st.PID != e.cmd.Process.Pid || len(st.Clusters) != 1 || st.Clusters[0].Name != "dev" || st.Clusters[0].Endpoint != *c.Endpoint {
			t.Errorf("status: %+v", st)
		}
		if out := sh.ok(t, "status"); !strings.Contains(out, "dev ") || !strings.Contains(out, "ACTIVE") || !strings.Contains(out, *c.Endpoint) {
			t.Errorf("status: %s", out)
		}
	})
	t.Run("env", func(t *testing.T) {
		for shell, want := range map[string]string{
			"bash": "export AWS_ENDPOINT_URL='%s'\n", "zsh": "export AWS_ENDPOINT_URL='%s'\n",
			"fish": "set -gx AWS_ENDPOINT_URL '%s';\n", "powershell": "$Env:AWS_ENDPOINT_URL = '%s'\n",
		} {
			if out := sh.ok(t, "env", "--shell", shell); !strings.HasPrefix(out, fmt.Sprintf(want, e.endpoint)) || !strings.Contains(out, "AWS_SECRET_ACCESS_KEY") {
				t.Errorf("env --shell %s: %s", shell, out)
			}
		}
		out, err := runTool(t, sh.env, "", "sh", "-c", `eval "$("$0" env)"; echo "$AWS_ENDPOINT_URL $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_REGION"`, e.binary)
		if err != nil || out != e.endpoint+" test test us-east-1\n" {
			t.Errorf("eval of env: %q, %v", out, err)
		}
	})
	t.Run("ca", func(t *testing.T) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(sh.ok(t, "ca"))) {
			t.Fatal("no certificate")
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		issuer := *w.clusterIs(t, "dev", "ACTIVE").Identity.Oidc.Issuer
		for _, url := range []string{strings.Replace(e.endpoint, "http:", "https:", 1) + "/_ekslocal/health", issuer + "/.well-known/openid-configuration"} {
			r, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || r.StatusCode != http.StatusOK {
				t.Errorf("%s: %s %s, %v", url, r.Status, b, err)
			}
		}
	})
	t.Run("kubeconfig", func(t *testing.T) {
		if out := sh.ok(t, "kubeconfig", "dev"); !strings.Contains(out, *c.Arn) {
			t.Errorf("kubeconfig: %s", out)
		}
		cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		// client-go runs `ekslocal token` as a user's kubectl does.
		if _, err := must(kubernetes.NewForConfig(cfg))(t).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		if out := sh.ok(t, "token", "--cluster-name", "dev"); !strings.Contains(out, `"kind":"ExecCredential"`) || !strings.Contains(out, "k8s-aws-v1.") {
			t.Errorf("token: %s", out)
		}
	})
	t.Run("completion", func(t *testing.T) {
		if out := sh.ok(t, "completion", "bash"); !strings.Contains(out, "__start_ekslocal") {
			t.Errorf("completion: %.200s", out)
		}
	})
	t.Run("reset", func(t *testing.T) { resets(t, w, sh) })
	t.Run("interrupt", func(t *testing.T) { interrupts(t, w) })
	t.Run("detach and stop", func(t *testing.T) { detaches(t, sh) })
}

func resets(t *testing.T, w *world, sh shell) {
	children := childrenOf(w.cmd.Process.Pid)
	if len(children) == 0 && runtime.GOOS == "linux" {
		t.Error("the cluster has no process")
	}
	began := time.Now()
	sh.ok(t, "reset")
	t.Logf("reset took %v", time.Since(began).Round(time.Millisecond))
	noneLeft(t, children)
	if l := must(w.eks.ListClusters(t.Context(), &eks.ListClustersInput{}))(t); len(l.Clusters) != 0 {
		t.Errorf("clusters after reset: %v", l.Clusters)
	}
	if _, err := w.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("cluster")}); err == nil {
		t.Error("the role is there after reset")
	}
	if left, err := os.ReadDir(filepath.Join(w.dataDir, "clusters")); err == nil && len(left) > 0 {
		t.Errorf("files of clusters after reset: %v", left)
	}
	// Everything can be made again under the same names.
	*w = *newWorld(t, w.emulator)
	w.cluster(t, "dev")
}

// interrupts ends the emulator as Ctrl-C does.
func interrupts(t *testing.T, w *world) {
	children := childrenOf(w.cmd.Process.Pid)
	if len(children) == 0 && runtime.GOOS == "linux" {
		t.Error("the cluster has no process")
	}
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after an interrupt the emulator ended with %v", err)
		}
		w.cmd = nil
	case <-time.After(20 * time.Second):
		t.Fatal("the emulator did not end within 20 s of an interrupt")
	}
	noneLeft(t, children)
	w.run()
	if s := w.status(); len(s.Clusters) != 1 {
		t.Errorf("after a new start: %+v", s.Clusters)
	}
}

// detaches starts one more in the background; stop must choose between two.
func detaches(t *testing.T, sh shell) {
	dir, port := t.TempDir(), freePorts(t, 2)
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	out := sh.ok(t, "start", "--detach", "--no-spare", "--listen", listen, "--data-dir", dir, "--cluster-ports", fmt.Sprint(port+1))
	if !strings.Contains(out, "http://"+listen) {
		t.Errorf("start --detach: %s", out)
	}
	sh.fails(t, "several emulators run", "status")
	var st admin.Status
	if err := json.Unmarshal([]byte(sh.ok(t, "status", "-o", "json", "--endpoint", "http://"+listen)), &st); err != nil {
		t.Fatal(err)
	}
	daemon, _, _ := processOf(st.PID)
	if out := sh.ok(t, "stop", "--data-dir", dir); !strings.Contains(out, "stopped") {
		t.Errorf("stop: %s", out)
	}
	noneLeft(t, []process{daemon}) // stop knows its lock gone, which is before the kernel has torn it down
	if out := sh.ok(t, "stop", "--data-dir", dir); !strings.Contains(out, "not running") {
		t.Errorf("stop once more: %s", out)
	}
}
