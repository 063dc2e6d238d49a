package lifecycle

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
)

// TestAdopt: after a restart of the emulator no pod loses its address to another, whether
// the API server knows it or the node alone.
func TestAdopt(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14")
	shown := f.pod("shown", "10.0.0.10")
	wired := f.pod("wired", "")
	wired.IP = netip.MustParseAddr("10.0.0.11")
	forced := controlplane.Sandbox{ContainerID: "c-forced", Pod: types.NamespacedName{Namespace: "default", Name: "forced"}, UID: "uid-forced", IP: netip.MustParseAddr("10.0.0.12")}
	f.pod("stale", "10.0.0.11") // what its sandbox had before the node restarted, and another has now
	f.pod("ended", "10.0.0.13", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	f.pod("host", "10.0.0.13", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	f.serve("r1", wired, forced)
	want := map[string]string{"uid-shown": "10.0.0.10", "uid-wired": "10.0.0.11", "uid-forced": "10.0.0.12"}
	if diff := cmp.Diff(want, f.pool.holders()); diff != "" {
		t.Errorf("adopted (-want +got):\n%s", diff)
	}
	if f.held["uid-stale"] != nil {
		t.Error("a pod shows what another's sandbox has, and holds it")
	}
	if diff := cmp.Diff(want, textOf(f.pool.expected)); diff != "" {
		t.Errorf("known when the pool began (-want +got):\n%s", diff)
	}
	// The end of a sandbox that nobody has told us of, of a pod that lives: it gets another.
	if err := f.agents.l.DelPod(t.Context(), "id", "i-1", shown); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, f.pool.holders()); diff != "" {
		t.Errorf("after the end of an older sandbox (-want +got):\n%s", diff)
	}
	f.delete("shown")
	if err := f.agents.l.DelPod(t.Context(), "id", "i-1", shown); err != nil {
		t.Error(err)
	}
	delete(want, "uid-shown")
	if diff := cmp.Diff(want, f.pool.holders()); diff != "" {
		t.Errorf("after the end of the pod (-want +got):\n%s", diff)
	}
	// The daemon comes again, and a sandbox has ended meanwhile.
	f.serve("r1", wired)
	delete(want, "uid-forced")
	if diff := cmp.Diff(want, f.pool.holders()); diff != "" {
		t.Errorf("after a gap (-want +got):\n%s", diff)
	}
}

// TestAdoptHolders: what the pool says that pods have goes by what is of them, also where
// nobody remembers who gave it to them, as after a change of authorities.
func TestAdoptHolders(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10", "10.0.0.11", "10.0.0.12", "10.0.0.13")
	f.serve("r1")
	gone, done := f.pod("gone", ""), f.pod("done", "")
	lives, kept := f.pod("lives", ""), f.pod("kept", "")
	for _, s := range []*controlplane.Sandbox{&gone, &done, &lives, &kept} {
		var err error
		if s.IP, err = f.add(t.Context(), f.cniFixture.node, *s); err != nil {
			t.Fatal(err)
		}
	}
	f.agents.rt.agents = newAgents(f.agents.l, f.agents.rt)
	f.agents = f.agents.rt.agents
	f.delete("gone")
	f.phase("done", corev1.PodFailed)
	f.delete("kept") // by force: its sandbox runs
	for _, s := range []controlplane.Sandbox{gone, done} {
		if err := f.agents.l.DelPod(t.Context(), "id", "i-1", s); err != nil { // nobody knows of it
			t.Error(err)
		}
	}
	f.serve("r1", kept)
	if diff := cmp.Diff(map[string]string{"uid-lives": lives.IP.String(), "uid-kept": kept.IP.String()}, f.pool.holders()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestAdoptIsBrokenOff: what was done of it is known, and the next try does the rest.
func TestAdoptIsBrokenOff(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10")
	s := f.pod("web", "")
	s.IP = netip.MustParseAddr("10.0.0.10")
	f.pool.unseen = true
	me := f.begin(f.cniFixture.node, "r1", func() {})
	start := controlplane.DaemonStart{Run: "r1", Sandboxes: []controlplane.Sandbox{s}}
	if _, err := f.start(t.Context(), me, start); !errors.Is(err, ipamd.ErrNoAddress) || f.serves("i-1") {
		t.Errorf("before the interfaces are known: %v, serves %t", err, f.serves("i-1"))
	}
	f.pool.unseen = false
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.adopt(ctx, me.node, claims{known: map[types.UID]*lease{s.UID: {instance: "i-1", pod: s.Pod, ip: s.IP}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	f.delete("web")
	f.serve("r1")
	if got := f.pool.holders(); len(got) != 0 {
		t.Errorf("of a pod that is gone: %v", got)
	}
}

// TestLeaseOfAnotherInstance is not taken over by what a node says.
func TestLeaseOfAnotherInstance(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10", "10.0.0.11")
	theirs := f.pod("theirs", "", func(p *corev1.Pod) { p.Spec.NodeName = "another" })
	theirs.IP = netip.MustParseAddr("10.0.0.10")
	f.hold(theirs.UID, &lease{instance: "i-2", container: theirs.ContainerID, pod: theirs.Pod, ip: theirs.IP})
	forged := theirs
	forged.ContainerID = "c-forged"
	f.serve("r1", forged)
	if h := f.held[theirs.UID]; h == nil || h.instance != "i-2" || len(f.pool.holders()) != 0 {
		t.Errorf("%+v, held %v", h, f.pool.holders())
	}
}

// TestStaticPod: its sandbox has another UID than its mirror in the API server.
func TestStaticPod(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10", "10.0.0.11", "10.0.0.12")
	f.serve("r1")
	s := controlplane.Sandbox{ContainerID: "c-static", Pod: types.NamespacedName{Namespace: "default", Name: "static"}, UID: "0f1e2d"}
	if _, err := f.addPod(s); err == nil {
		t.Error("an address before the mirror is there")
	}
	mirrors := func(uid string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: uid} }
	}
	f.pod("static", "", mirrors("0f1e2d"))
	f.pool.unseen = true
	if _, err := f.addPod(s); err == nil || len(f.list(func(_ types.NamespacedName, uid types.UID) bool { return uid == "uid-static" })) != 1 {
		t.Errorf("%v: the mirror does not wait", err)
	}
	f.pool.unseen = false
	ip, err := f.addPod(s)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"0f1e2d": ip}
	// The mirror is made anew over the pod, and the emulator starts again.
	f.delete("static")
	f.pod("static", ip, mirrors("0f1e2d"), func(p *corev1.Pod) { p.UID = "uid-another" })
	s.IP = netip.MustParseAddr(ip)
	f.serve("r1", s)
	for range 3 {
		f.clock().Step(missingLimit)
		f.tell("i-1", nil)
		if err := f.sweep(t.Context(), f.cniFixture.node); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, f.pool.holders()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	forged := f.pod("forged", "", mirrors("uid-web"))
	forged.UID = ""
	if _, err := f.addPod(forged); err != nil || f.held["uid-forged"] == nil || f.held["uid-web"] != nil {
		t.Errorf("an annotation makes another pod of one: %v, %v", err, f.held)
	}
	copied := f.pod("copied", "", mirrors("abcdef"))
	copied.UID = ""
	f.hold("abcdef", &lease{instance: "i-2"})
	if _, err := f.addPod(copied); err == nil || f.held["abcdef"].instance != "i-2" {
		t.Errorf("the address of another node's static pod: %v, %+v", err, f.held["abcdef"])
	}
	if err := f.agents.l.DelPod(t.Context(), "id", "i-1", s); err != nil {
		t.Error(err)
	}
	if _, has := f.pool.holders()["0f1e2d"]; has {
		t.Error("it has its address after its end")
	}
}

// TestSweepOfAddresses: the address of a pod that has ended comes back in the end, but not
// while its node has the sandbox, or does not say.
func TestSweepOfAddresses(t *testing.T) {
	for name, end := range map[string]func(*agentFixture){
		"gone":      func(f *agentFixture) { f.delete("web") },
		"succeeded": func(f *agentFixture) { f.phase("web", corev1.PodSucceeded) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newAgentFixture(t, "10.0.0.10")
			f.serve("r1")
			s := f.pod("web", "")
			if _, err := f.addPod(s); err != nil {
				t.Fatal(err)
			}
			end(f)
			sandbox := []controlplane.Sandbox{s}
			for _, c := range []struct {
				after time.Duration
				says  *[]controlplane.Sandbox
				held  int
			}{
				{0, nil, 1}, {missingLimit - time.Second, &[]controlplane.Sandbox{}, 1}, {time.Second, &sandbox, 1}, {time.Hour, nil, 1},
				{time.Second, &[]controlplane.Sandbox{}, 0},
			} {
				f.clock().Step(c.after)
				if c.says != nil {
					f.tell("i-1", *c.says)
				}
				if err := f.sweep(t.Context(), f.cniFixture.node); err != nil {
					t.Fatal(err)
				}
				if got := f.pool.holders(); len(got) != c.held {
					t.Errorf("after %s more: %v", c.after, got)
				}
			}
		})
	}
	f := newAgentFixture(t, "10.0.0.10")
	f.serve("r1")
	if _, err := f.addPod(f.pod("web", "")); err != nil {
		t.Fatal(err)
	}
	f.delete("web")
	for range 5 { // an agent that tells nothing
		if err := f.sweep(t.Context(), f.cniFixture.node); err != nil {
			t.Fatal(err)
		}
		f.clock().Step(missingLimit)
	}
	if got := f.pool.holders(); len(got) != 1 {
		t.Errorf("of a node that does not say what it has: %v", got)
	}
}

// TestForget: nothing stays of an instance that has ended.
func TestForget(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10")
	me := f.serve("r1")
	ended := false
	me.end = func() { ended = true }
	if _, err := f.addPod(f.pod("one", "")); err != nil {
		t.Fatal(err)
	}
	_, _ = f.addPod(f.pod("two", ""))
	f.told("i-1", []byte("line"))
	f.hold("other", &lease{instance: "i-2"})
	f.forget("i-1")
	all := func(types.NamespacedName, types.UID) bool { return true }
	if len(f.held) != 1 || len(f.list(all)) != 0 || len(f.ledgers)+len(f.logged)+len(f.address)+len(f.nodes) != 0 || !ended || f.cni.serves("i-1") {
		t.Errorf("%v, %v, %v, %v, %v, %v, ended %t, serves %t", f.held, f.list(all), f.ledgers, f.logged, f.address, f.nodes, ended, f.cni.serves("i-1"))
	}
	f.finish(me)
}

// TestDaemonComesAgain: a connection that breaks is no new start of the daemon, and does
// not tell it all again.
func TestDaemonComesAgain(t *testing.T) {
	f := newAgentFixture(t, "10.0.0.10")
	starts := 0
	f.cniFixture.l.Addresses = counting{f.pool, &starts}
	me := f.serve("r1")
	f.told("i-1", []byte("one\n"))
	f.finish(me)
	if f.serves("i-1") {
		t.Error("it serves while it is away")
	}
	f.serve("r1")
	if log := f.untold("i-1", []byte("one\ntwo\n")); starts != 1 || !f.serves("i-1") || string(log) != "two\n" {
		t.Errorf("%d starts, serves %t, untold %q", starts, f.serves("i-1"), log)
	}
	f.serve("r2")
	if starts != 2 {
		t.Errorf("%d starts after another run", starts)
	}
}

// counting counts the starts of a pool.
type counting struct {
	*leases
	starts *int
}

func (c counting) Start(ctx context.Context, id string) {
	*c.starts++
	c.leases.Start(ctx, id)
}
