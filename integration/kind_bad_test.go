package integration

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How long the emulator tries to make a cluster before it is FAILED, by default and where
// a test says so.
const (
	patienceCreate = 3 * time.Minute
	patienceShort  = 30 * time.Second
)

// TestKindBadDays: engines that refuse. A cluster's health says why it does not come up
// and what to do, then it is FAILED, and nothing of it stays on the engine. All of them
// wait at the same time, and need no Docker: a script stands for it.
func TestKindBadDays(t *testing.T) {
	t.Parallel() // it waits
	var wg sync.WaitGroup
	for name, day := range map[string]badDay{
		"no Docker": {
			refuse: `echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?" >&2; exit 1`,
			want:   []string{"the Docker engine does not answer", "ekslocal doctor"},
		},
		"no image": {
			refuse: `case $1 in
image) echo "Error response from daemon: No such image: $4" >&2; exit 1 ;;
pull) echo "Error response from daemon: Get https://registry.invalid/v2/: dial tcp: no route to host" >&2; exit 1 ;;
esac`,
			want: []string{"is not there and cannot be pulled", "no route to host", "docker load", "--kind-node-image"},
		},
		"disk full": {
			refuse: `case "$1 $2" in "run --name") made "$3"; echo "docker: Error response from daemon: mkdir /var/lib/docker/overlay2/1: no space left on device." >&2; exit 125 ;; esac`,
			want:   []string{"no space left on device", "docker image prune"},
		},
		"no privileges": {
			refuse: `case "$1 $2" in "run --name") made "$3"; echo "docker: Error response from daemon: failed to create task for container: OCI runtime create failed: unable to apply caps: operation not permitted: unknown." >&2; exit 125 ;; esac`,
			want:   []string{"unable to apply caps", "privileged containers"},
		},
		"port taken": {
			refuse: `case "$1 $2" in "run --name") made "$3"; echo "docker: Error response from daemon: driver failed programming external connectivity: failed to bind port 127.0.0.1:6500/tcp: address already in use." >&2; exit 125 ;; esac`,
			want:   []string{"address already in use", "--cluster-ports"},
		},
	} {
		wg.Go(func() { t.Run(name, day.passes) })
	}
	wg.Wait()
}

// badDay is an engine that refuses something, and what is said of it.
type badDay struct {
	refuse string // of the script that stands for docker, ahead of what works
	want   []string
}

// workingDocker is an engine as far as kind gets with one before its first container.
// Its containers are files, which only `docker rm` removes.
const workingDocker = `#!/bin/sh
state=%s
made() { touch "$state/$1"; }
%s
case "$1" in
info) case "$*" in
	*CgroupVersion*) echo 2 ;; *OperatingSystem*) echo Fake ;; *SecurityOptions*) echo '["name=seccomp"]' ;;
	*) echo '{}' ;;
	esac ;;
network) case "$2" in ls) echo 0123456789ab ;; *) echo 127.0.0.0/8 ;; esac ;;
image) echo sha256:0 ;;
container) echo "Error: No such container: $3" >&2; exit 1 ;;
run) case "$*" in *"/kind/version"*) echo v1.36.3 ;; *) echo "an unexpected docker $*" >&2; exit 125 ;; esac ;;
ps) ls "$state" ;;
rm) shift; for a; do case "$a" in -*) ;; *) rm -f "$state/$a"; touch "$state.removed" ;; esac; done ;;
events) exec sleep 600 ;;
exec|cp|inspect|version|top) ;;
*) echo "an unexpected docker $*" >&2; exit 1 ;;
esac
`

func (d badDay) passes(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "containers")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "docker"), fmt.Appendf(nil, workingDocker, state, d.refuse), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, startWith(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "--no-spare", "--backend", "kind", "--kind-node-image", "example/node:test"))
	began := time.Now()
	createKind(t, w, "dev")
	said := healthOf(t, w, "dev", ekstypes.ClusterStatusCreating)
	c := w.failedKind(t, "dev", began, patienceCreate)
	for _, want := range d.want {
		for when, said := range map[string]string{"CREATING": said, "FAILED": strings.Join(issues(c), "\n")} {
			if !strings.Contains(said, want) {
				t.Errorf("while it is %s its health does not say %q: %s", when, want, said)
			}
		}
	}
	if n := len(c.Health.Issues); n != 1 || c.Health.Issues[0].Code != ekstypes.ClusterIssueCodeInternalFailure {
		t.Errorf("%d issues: %+v", n, c.Health.Issues)
	}
	if left, err := os.ReadDir(state); err != nil || len(left) > 0 {
		t.Errorf("containers %v are left, %v", left, err)
	}
	if _, err := os.Stat(state + ".removed"); strings.Contains(d.refuse, "made") && err != nil {
		t.Errorf("a container was made and never removed: %v", err)
	}
	w.forgetKind(t, "dev")
	if left, err := filepath.Glob(filepath.Join(w.dataDir, "kind", "*", "record.json")); err != nil || len(left) > 0 {
		t.Errorf("of the cluster that was deleted %v is left, %v", left, err)
	}
}

// TestKindEngineDies: an engine that goes away in the middle of a create, and comes
// back, with what it ran dead: the cluster says so meanwhile, and comes up in the end.
func TestKindEngineDies(t *testing.T) {
	image := nodeImage(t)
	t.Parallel()
	dir := t.TempDir()
	real, err := exec.LookPath("docker")
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead")
	script := fmt.Sprintf(`#!/bin/sh
if [ -e %[1]s ]; then echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?" >&2; exit 1; fi
exec %[2]s "$@"
`, dead, real)
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, startWith(t, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "--no-spare", "--backend", "kind", "--kind-node-image", image))
	createKind(t, w, "dev")
	t.Cleanup(func() { removeContainersOf(t, w) })
	var node string
	eventually(t, time.Minute, "kubeadm runs in a container", func() error {
		ids := controlPlanesOf(t, w)
		if len(ids) != 1 {
			return fmt.Errorf("control planes %v", ids)
		}
		node = "ekslocal-" + ids[0] + "-control-plane"
		out, err := exec.Command(real, "top", node, "-eo", "pid,args").CombinedOutput()
		if err == nil && !strings.Contains(string(out), "kubeadm init") {
			err = fmt.Errorf("it runs %s", out)
		}
		return err
	})
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(real, "kill", node).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, time.Minute, "the cluster says that the engine is gone", func() error {
		if said := healthOf(t, w, "dev", ekstypes.ClusterStatusCreating); !strings.Contains(said, "the Docker engine does not answer") {
			return fmt.Errorf("it says %q", said)
		}
		return nil
	})
	if err := os.Remove(dead); err != nil {
		t.Fatal(err)
	}
	eventually(t, 2*time.Minute, "the cluster comes up", func() error {
		c := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("dev")}))(t).Cluster
		if c.Status != ekstypes.ClusterStatusActive {
			return fmt.Errorf("%s: %v", c.Status, issues(c))
		}
		return nil
	})
	c := w.clusterIs(t, "dev", ekstypes.ClusterStatusActive)
	if said := issues(c); len(said) > 0 {
		t.Errorf("an ACTIVE cluster has issues %v", said)
	}
	k, _ := w.kubernetes(t, c)
	must(k.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}))(t)
	w.forgetKind(t, "dev")
	if left := containersOf(t, c); len(left) > 0 {
		t.Errorf("containers %v are left", left)
	}
}

// TestKindNeighbours: two emulators on one engine, and a kind cluster of the user's own
// that is called as ours are. Nobody touches what is another's.
func TestKindNeighbours(t *testing.T) {
	image := nodeImage(t)
	t.Parallel()
	foreign := "ekslocal-" + randomID(t)
	out, err := exec.Command("docker", "create", "--name", foreign+"-control-plane", "--label", "io.x-k8s.kind.cluster="+foreign,
		"--label", "io.x-k8s.kind.role=control-plane", "--entrypoint", "sleep", image, "600").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", "-v", foreign+"-control-plane").Run() })
	if out, err := exec.Command("docker", "start", foreign+"-control-plane").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	flags := []string{"--no-spare", "--backend", "kind", "--kind-node-image", image}
	var worlds [2]*world
	var clusters [2]*ekstypes.Cluster
	for i := range worlds {
		worlds[i] = newWorld(t, startAs(t, flags...))
		createKind(t, worlds[i], "dev")
		t.Cleanup(func() { removeContainersOf(t, worlds[i]) })
	}
	for i, w := range worlds {
		clusters[i] = w.clusterIs(t, "dev", ekstypes.ClusterStatusActive)
		k, _ := w.kubernetes(t, clusters[i])
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("of-%d", i)}}
		must(k.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}))(t)
	}
	alive := func(when string) {
		t.Helper()
		k, _ := worlds[1].kubernetes(t, clusters[1])
		eventually(t, time.Minute, "the neighbour's cluster answers "+when, func() error {
			_, err := k.CoreV1().Namespaces().Get(t.Context(), "of-1", metav1.GetOptions{})
			return err
		})
		out, err := exec.Command("docker", "container", "inspect", "--format", "{{.State.Running}}", foreign+"-control-plane").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != "true" {
			t.Errorf("the user's cluster %s: %s, %v", when, out, err)
		}
	}
	worlds[0].kill()
	worlds[0].run() // which looks for what no cluster has any more
	alive("after the other emulator's crash")
	worlds[0].forgetKind(t, "dev")
	alive("after the other's cluster was deleted")
	createKind(t, worlds[0], "again")
	clusters[0] = worlds[0].clusterIs(t, "again", ekstypes.ClusterStatusActive)
	runCLI(t, worlds[0].emulator, worlds[0].env(filepath.Join(t.TempDir(), "kubeconfig")), "reset")
	if left := containersOf(t, clusters[0]); len(left) > 0 {
		t.Errorf("after a reset containers %v are left", left)
	}
	alive("after the other emulator's reset")
	worlds[0].stop()
	alive("after the other emulator's end")
}

// TestKindRealRefusals has the real engine refuse: an image that is nowhere, and a port
// that is taken.
func TestKindRealRefusals(t *testing.T) {
	image := nodeImage(t)
	t.Parallel()
	began := time.Now()
	flags := []string{"--no-spare", "--backend", "kind", "--create-timeout", patienceShort.String()}
	none := newWorld(t, startAs(t, append(flags, "--kind-node-image", "ekslocal.invalid/no/such:image")...))
	createKind(t, none, "dev")

	taken := newWorld(t, startAs(t, append(flags, "--kind-node-image", image)...))
	first, _, _ := strings.Cut(taken.ports, "-")
	l, err := net.Listen("tcp", "127.0.0.1:"+first)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	createKind(t, taken, "dev")

	for _, c := range []struct {
		w    *world
		want []string
	}{
		{none, []string{"ekslocal.invalid/no/such:image"}},
		{taken, []string{"address already in use", "--cluster-ports"}},
	} {
		said := strings.Join(issues(c.w.failedKind(t, "dev", began, patienceShort)), "\n")
		for _, want := range c.want {
			if !strings.Contains(said, want) {
				t.Errorf("the health does not say %q: %s", want, said)
			}
		}
		for _, id := range controlPlanesOf(t, c.w) {
			if left := containersOfID(t, id); len(left) > 0 {
				t.Errorf("containers %v are left", left)
			}
		}
		c.w.forgetKind(t, "dev")
	}
}

// nodeImage is the image that make test-kind provides, and an engine with it.
func nodeImage(t *testing.T) string {
	t.Helper()
	image := os.Getenv("EKSLOCAL_KIND_NODE_IMAGE")
	if image == "" {
		t.Skip("EKSLOCAL_KIND_NODE_IMAGE names no node image: see make test-kind")
	}
	return image
}

// controlPlanesOf are the ids of what an emulator has begun to make with kind.
func controlPlanesOf(t *testing.T, w *world) (ids []string) {
	t.Helper()
	records, err := filepath.Glob(filepath.Join(w.dataDir, "kind", "*", "record.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		ids = append(ids, strings.ToLower(filepath.Base(filepath.Dir(r))))
	}
	return ids
}

// removeContainersOf cleans up after a test that failed in the middle.
func removeContainersOf(t *testing.T, w *world) {
	for _, id := range controlPlanesOf(t, w) {
		for _, name := range containersOfID(t, id) {
			if out, err := exec.Command("docker", "rm", "-f", "-v", name).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
	}
}

func randomID(t *testing.T) string {
	t.Helper()
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

func createKind(t *testing.T, w *world, name string) {
	t.Helper()
	must(w.eks.CreateCluster(t.Context(), &eks.CreateClusterInput{
		Name: &name, RoleArn: &w.clusterRole, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: w.subnets},
		AccessConfig: &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApiAndConfigMap},
	}))(t)
}

// healthOf waits until a cluster in this state has something to say.
func healthOf(t *testing.T, w *world, name string, status ekstypes.ClusterStatus) (said string) {
	t.Helper()
	eventually(t, 30*time.Second, "the cluster's health has an issue", func() error {
		c := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &name}))(t).Cluster
		if said = strings.Join(issues(c), "\n"); c.Status != status || said == "" {
			return fmt.Errorf("it is %s with %v", c.Status, issues(c))
		}
		return nil
	})
	return said
}

// failedKind waits until the emulator has given the cluster up, which it must not do
// ahead of time.
func (w *world) failedKind(t *testing.T, name string, began time.Time, patience time.Duration) (c *ekstypes.Cluster) {
	t.Helper()
	eventually(t, patience+30*time.Second, "the cluster is given up", func() error {
		if c = must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &name}))(t).Cluster; c.Status != ekstypes.ClusterStatusFailed {
			return fmt.Errorf("it is %s", c.Status)
		}
		return nil
	})
	if took := time.Since(began); took < patience-5*time.Second {
		t.Errorf("it was given up after %s", took)
	}
	return c
}

// forgetKind deletes a cluster and waits until it is gone.
func (w *world) forgetKind(t *testing.T, name string) {
	t.Helper()
	must(w.eks.DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: &name}))(t)
	eventually(t, time.Minute, "cluster "+name+" is gone", func() error {
		_, err := w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &name})
		if errorAs[*ekstypes.ResourceNotFoundException](err) == nil {
			return fmt.Errorf("DescribeCluster: %v", err)
		}
		return nil
	})
}
