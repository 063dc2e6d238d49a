package integration

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/store/etcd"
)

// settleEvery is after how many kills the test waits for everything to come to
// rest and looks for orphans.
const settleEvery = 10

// TestKill writes through the real API from several sides and kills the emulator
// at random moments. What was acknowledged must be there afterwards, and nothing
// that belongs to nobody. EKSLOCAL_TEST_KILLS says how often, EKSLOCAL_TEST_SEED
// repeats the same choices.
func TestKill(t *testing.T) {
	kills := 6
	if n, err := strconv.Atoi(os.Getenv("EKSLOCAL_TEST_KILLS")); err == nil {
		kills = n
	}
	seed := rand.Uint64()
	if n, err := strconv.ParseUint(os.Getenv("EKSLOCAL_TEST_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("%d kills, seed %d", kills, seed)
	choice := rand.New(rand.NewPCG(seed, 0))

	w := newWorld(t, start(t))
	t.Cleanup(func() { // while the log still ends with the failure
		if t.Failed() {
			t.Logf("what the emulators had to say beside requests:\n%s", lastLines(withoutRequests(w.log.String()), 200))
		}
	})
	c := w.cluster(t, "keep")
	w.nodegroup(t, "keep", "ng", 2)
	writers := newWriters(t, w, c, choice)
	for n := 1; n <= kills; n++ {
		life := lifetime(choice)
		children := killUnder(t, w, writers, life)
		w.args = nil // every other emulator keeps a spare control plane
		if n%2 == 0 {
			w.args = []string{"--no-spare"}
		}
		began := time.Now()
		w.run()
		t.Logf("kill %d after %v, back in %v", n, life.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		noneLeft(t, children)
		for _, wr := range writers {
			wr.verify(t)
		}
		if n%settleEvery == 0 || n == kills {
			settle(t, w, writers)
		}
		if t.Failed() {
			t.Fatalf("after kill %d", n)
		}
	}
	for _, wr := range writers {
		t.Log(wr.done())
	}
	ids := w.clusterIDs(t)
	w.stop()
	checkEtcd(t, w.dataDir, ids)
}

// lifetime is how long the emulator lives under load: mostly short, so that its
// own recovery is interrupted too, at times long enough for a cluster to be made.
func lifetime(choice *rand.Rand) time.Duration {
	most := time.Second
	switch p := choice.IntN(100); {
	case p >= 70:
		most = 10 * time.Second
	case p >= 30:
		most = 4 * time.Second
	}
	return time.Duration(choice.Int64N(int64(most)))
}

// killUnder lets the writers work for a while and kills the emulator under them.
// It answers the child processes that it had.
func killUnder(t *testing.T, w *world, writers []writer, life time.Duration) []process {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for _, wr := range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				wr.step(ctx)
			}
		})
	}
	select {
	case <-time.After(life):
	case <-t.Context().Done():
	}
	children := childrenOf(w.cmd.Process.Pid)
	w.kill()
	cancel()
	wg.Wait()
	return children
}

// process is one process, told from a later one of the same id by its start.
type process struct {
	pid         int
	start, name string
}

// childrenOf lists the processes that pid has started.
func childrenOf(pid int) []process {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []process
	for _, dir := range dirs {
		id, _ := strconv.Atoi(filepath.Base(dir))
		if p, parent, ok := processOf(id); ok && parent == pid {
			out = append(out, p)
		}
	}
	return out
}

// processOf reads /proc: no process, and no zombie, is not ok.
func processOf(pid int) (p process, parent int, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, 0, false
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:]) // state, ppid, ...
	if len(f) < 20 || f[0] == "Z" {
		return p, 0, false
	}
	parent, _ = strconv.Atoi(f[1])
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return process{pid, f[19], strings.ReplaceAll(string(cmdline), "\x00", " ")}, parent, true
}

// noneLeft checks that control planes end with their emulator.
func noneLeft(t *testing.T, children []process) {
	t.Helper()
	eventually(t, 5*time.Second, "the killed emulator's children are gone", func() error {
		for _, c := range children {
			if now, _, ok := processOf(c.pid); ok && now.start == c.start {
				return fmt.Errorf("process %d lives: %s", c.pid, c.name)
			}
		}
		return nil
	})
}

// settle waits until nothing is on its way any more and looks for what belongs to
// nobody.
func settle(t *testing.T, w *world, writers []writer) {
	t.Helper()
	eventually(t, time.Minute, "clusters and node groups come to rest", func() error { return w.atRest(t.Context()) })
	for _, wr := range writers {
		wr.verifySettled(t)
	}
	eventually(t, 15*time.Second, "nothing is left behind", func() error { return w.orphans(t.Context(), writers) })
	_, used := w.ledger(t)
	w.freeMatches(t, used)
}

// atRest tells what is still on its way.
func (w *world) atRest(ctx context.Context) error {
	list, err := w.eks.ListClusters(ctx, &eks.ListClustersInput{})
	if err != nil {
		return err
	}
	for _, name := range list.Clusters {
		d, err := w.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
		if err != nil {
			return err
		}
		if d.Cluster.Status != ekstypes.ClusterStatusActive {
			return fmt.Errorf("cluster %s is %s %v", name, d.Cluster.Status, issues(d.Cluster))
		}
		groups, err := w.eks.ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: &name})
		if err != nil {
			return err
		}
		for _, ng := range groups.Nodegroups {
			d, err := w.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &name, NodegroupName: &ng})
			if err != nil {
				return err
			}
			if d.Nodegroup.Status != ekstypes.NodegroupStatusActive {
				return fmt.Errorf("node group %s/%s is %s %+v", name, ng, d.Nodegroup.Status, d.Nodegroup.Health)
			}
		}
	}
	return nil
}

// clusterIDs are the ids by which control planes are known, from the issuers.
func (w *world) clusterIDs(t *testing.T) []string {
	t.Helper()
	var ids []string
	for _, name := range must(w.eks.ListClusters(t.Context(), &eks.ListClustersInput{}))(t).Clusters {
		d := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &name}))(t)
		issuer := aws.ToString(d.Cluster.Identity.Oidc.Issuer)
		ids = append(ids, issuer[strings.LastIndexByte(issuer, '/')+1:])
	}
	return ids
}

// checkEtcd opens the data of an emulator that has ended: only clusters that exist
// may have any.
func checkEtcd(t *testing.T, dataDir string, ids []string) {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Config{
		Dir: filepath.Join(dataDir, "etcd"), Socket: filepath.Join(t.TempDir(), "s"), Log: slog.New(slog.DiscardHandler), Clock: clock.RealClock{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := s.Client().Get(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	strange := map[string]int{}
	for _, kv := range r.Kvs {
		part := strings.Split(string(kv.Key), "/")
		known := part[1] == "ekslocal" || part[1] == "ekslocal-clusters" &&
			slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, part[2]) })
		if !known {
			strange["/"+part[1]+"/"+part[2]]++
		}
	}
	if len(strange) > 0 {
		t.Errorf("etcd has keys of nobody: %v; clusters are %v", strange, ids)
	}
	dirs, err := os.ReadDir(filepath.Join(dataDir, "clusters"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !slices.ContainsFunc(ids, func(id string) bool { return strings.EqualFold(id, d.Name()) }) {
			t.Errorf("directory of no cluster: %s", d.Name())
		}
	}
}
