package lifecycle

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/fake"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// newLosing is a cluster that runs, and whose API server refuses connections.
func newLosing(t *testing.T) *rotation {
	t.Helper()
	r := newRotation(t)
	r.backend.Admin = func(controlplane.Spec) *rest.Config { return &rest.Config{Host: "https://127.0.0.1:1"} }
	r.edit(func(tx *store.Tx, c *ekssvc.Cluster) {
		c.Resource.Arn = aws.String("arn:aws:eks:us-east-1:000000000000:cluster/dev")
	})
	if err := r.look(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rotation) edit(f func(tx *store.Tx, c *ekssvc.Cluster)) {
	r.t.Helper()
	err := r.Store.Update(r.ctx, func(tx *store.Tx) error {
		c := ekssvc.Clusters.Edit(tx, r.scope, "dev")
		f(tx, c)
		ekssvc.Clusters.Put(tx, r.scope, "dev", c)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotation) look() error {
	_, err := r.reconcileCluster(r.ctx, key{r.scope, "dev"})
	return err
}

// codes are those of the cluster's health issues.
func (r *rotation) codes() (out []ekstypes.ClusterIssueCode) {
	if h := r.cluster().Resource.Health; h != nil {
		for _, i := range h.Issues {
			out = append(out, i.Code)
		}
	}
	return out
}

func (r *rotation) putAddon(name string, states ...ekstypes.AddonStatus) {
	for _, s := range states {
		r.edit(func(tx *store.Tx, _ *ekssvc.Cluster) {
			ekssvc.Addons.Put(tx, r.scope, ekssvc.ChildID("dev", name), &ekssvc.Addon{ID: name, Scope: r.scope, Resource: ekstypes.Addon{AddonName: &name, ClusterName: aws.String("dev"), Status: s}})
		})
	}
}

// TestLost: a control plane that was made anew is one in which nothing is installed, with
// or without a restart of the emulator in between.
func TestLost(t *testing.T) {
	for name, hear := range map[string]func(r *rotation){
		"while it runs":              func(r *rotation) { r.ControlPlaneLost(r.cluster().ID) },
		"while the emulator is away": func(r *rotation) { r.restart() },
		"between two runtimes": func(r *rotation) {
			r.stopRuntime(r.cluster().ID)
			r.ControlPlaneLost(r.cluster().ID)
			if _, err := r.ensureRuntime(r.cluster(), controlplane.Info{Admin: &rest.Config{Host: "https://127.0.0.1:1"}}); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLosing(t)
			before := r.runtimeOf(r.cluster().ID)
			r.putAddon("works", ekstypes.AddonStatusCreating, ekstypes.AddonStatusActive)
			r.putAddon("half", ekstypes.AddonStatusCreating, ekstypes.AddonStatusActive, ekstypes.AddonStatusUpdating, ekstypes.AddonStatusUpdateFailed)
			r.putAddon("coming", ekstypes.AddonStatusCreating)
			r.putAddon("going", ekstypes.AddonStatusCreating, ekstypes.AddonStatusActive, ekstypes.AddonStatusDeleting)
			r.edit(func(tx *store.Tx, c *ekssvc.Cluster) {
				c.AutoModeApplied = "something"
				ekssvc.Capabilities.Put(tx, r.scope, ekssvc.ChildID("dev", "argo"), &ekssvc.Capability{ID: "argo", Scope: r.scope,
					Resource: ekstypes.Capability{CapabilityName: aws.String("argo"), ClusterName: aws.String("dev"), Status: ekstypes.CapabilityStatusActive}})
			})
			r.backend.Lose(r.cluster().ID)
			hear(r)
			if err := r.look(); err == nil || !strings.Contains(err.Error(), "install what every new cluster has") {
				t.Errorf("the cluster is not given its objects: %v", err)
			}
			c := r.cluster()
			if c.Bootstrapped || c.AutoModeApplied != "" || c.Data == "" {
				t.Errorf("record: bootstrapped %v, Auto Mode %q, data %q", c.Bootstrapped, c.AutoModeApplied, c.Data)
			}
			if rt := r.runtimeOf(c.ID); rt == nil || rt == before {
				t.Errorf("the runtime is that of before: %v", rt == before)
			}
			again := map[string]bool{"argo": ekssvc.Capabilities.Get(r.Store, r.scope, ekssvc.ChildID("dev", "argo")).Reinstall}
			for _, a := range ekssvc.Addons.List(r.Store, r.scope) {
				again[a.ID] = a.Reinstall
			}
			if d := cmp.Diff(map[string]bool{"works": true, "half": true, "coming": false, "going": false, "argo": true}, again); d != "" {
				t.Errorf("to be installed again: %s", d)
			}
			if d := cmp.Diff([]ekstypes.ClusterIssueCode{ekstypes.ClusterIssueCodeInternalFailure}, r.codes()); d != "" {
				t.Errorf("health: %s", d)
			}

			// In the same data nothing is lost, and after an hour all is as ever.
			r.edit(func(_ *store.Tx, c *ekssvc.Cluster) { c.Bootstrapped = true })
			for _, d := range []time.Duration{59 * time.Minute, time.Minute} {
				r.restart()
				r.Clock.(*clocktesting.FakeClock).Step(d)
				if err := r.look(); err != nil {
					t.Fatal(err)
				}
				if shown := len(r.codes()) > 0; shown != (d > time.Minute) {
					t.Errorf("after another %s the loss is shown: %v", d, shown)
				}
			}
			if r.cluster().LostAt != nil || !r.cluster().Bootstrapped {
				t.Errorf("it stays lost: %+v", r.cluster().LostAt)
			}
		})
	}
}

// TestSetIssues: those of a kind are the same wherever they are among the others.
func TestSetIssues(t *testing.T) {
	key := func(c ekstypes.ClusterIssueCode) bool { return c == ekstypes.ClusterIssueCodeKmsKeyDisabled }
	loss := ekstypes.ClusterIssue{Code: ekstypes.ClusterIssueCodeInternalFailure, Message: aws.String("lost")}
	disabled := ekstypes.ClusterIssue{Code: ekstypes.ClusterIssueCodeKmsKeyDisabled, Message: aws.String("disabled")}
	other := disabled
	other.Message = aws.String("still disabled")
	c := &ekssvc.Cluster{}
	for i, s := range []struct {
		kind    func(ekstypes.ClusterIssueCode) bool
		now     []ekstypes.ClusterIssue
		changes bool
		codes   int
	}{
		{ofLoss, nil, true, 0}, // of a record without any health
		{ofLoss, nil, false, 0},
		{key, []ekstypes.ClusterIssue{disabled}, true, 1},
		{ofLoss, []ekstypes.ClusterIssue{loss}, true, 2},
		{key, []ekstypes.ClusterIssue{disabled}, false, 2},
		{ofLoss, []ekstypes.ClusterIssue{loss}, false, 2},
		{key, []ekstypes.ClusterIssue{other}, true, 2},
		{ofLoss, nil, true, 1},
		{key, nil, true, 0},
	} {
		if got := setIssues(c, s.kind, s.now); got != s.changes || len(c.Resource.Health.Issues) != s.codes {
			t.Errorf("step %d: changed %v, %+v", i, got, c.Resource.Health.Issues)
		}
	}
}

// TestNotLost: the first data of a cluster, or those of another build, are no loss.
func TestNotLost(t *testing.T) {
	r := newLosing(t)
	r.edit(func(_ *store.Tx, c *ekssvc.Cluster) { c.RunningVersion, c.Bootstrapped = "", false })
	r.backend.Lose(r.cluster().ID)
	r.restart()
	if err := r.look(); err == nil {
		t.Error("it is not bootstrapped")
	}
	if c := r.cluster(); c.LostAt != nil || c.Data == "" || len(r.codes()) > 0 {
		t.Errorf("lost at %v, data %q, health %v", c.LostAt, c.Data, r.codes())
	}
	// Nor is what is lost before the cluster is ACTIVE.
	creating := *r.cluster()
	creating.RunningVersion, creating.Resource.Status = "1.36", ekstypes.ClusterStatusCreating
	if err := r.inNewData(r.ctx, &creating, "another"); err != nil {
		t.Fatal(err)
	}
	if c := r.cluster(); c.LostAt != nil || c.Data != "another" {
		t.Errorf("lost at %v, data %q", c.LostAt, c.Data)
	}
}

// TestUnreachable: the health of a cluster that was made says why it does not run.
func TestUnreachable(t *testing.T) {
	r := newLosing(t)
	r.restart()
	r.backend.NextError(fake.Create, errors.New("no engine"))
	if err := r.look(); err == nil {
		t.Fatal("it runs")
	}
	if d := cmp.Diff([]ekstypes.ClusterIssueCode{ekstypes.ClusterIssueCodeClusterUnreachable}, r.codes()); d != "" {
		t.Errorf("health: %s", d)
	}
	if err := r.look(); err != nil || len(r.codes()) > 0 {
		t.Errorf("it runs again: %v, health %v", err, r.codes())
	}
}

// TestLetGroupsIn: the rows that node groups have put into aws-auth come back with it.
func TestLetGroupsIn(t *testing.T) {
	r := newLosing(t)
	r.edit(func(tx *store.Tx, c *ekssvc.Cluster) {
		c.Resource.AccessConfig = &ekstypes.AccessConfigResponse{AuthenticationMode: ekstypes.AuthenticationModeConfigMap}
		for name, hash := range map[string]string{"old": "h", "young": ""} {
			ekssvc.Nodegroups.Put(tx, r.scope, ekssvc.ChildID("dev", name), &ekssvc.Nodegroup{ID: name, Scope: r.scope, ManagedTemplateHash: hash, Resource: ekstypes.Nodegroup{
				NodegroupName: aws.String(name), ClusterName: aws.String("dev"), NodeRole: aws.String("arn:aws:iam::000000000000:role/" + name), Status: ekstypes.NodegroupStatusCreating,
			}})
		}
	})
	rt := &runtime{client: kubefake.NewClientset()}
	for range 2 {
		if err := r.letGroupsIn(t.Context(), r.cluster(), rt); err != nil {
			t.Fatal(err)
		}
	}
	cm, err := rt.client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), awsAuthName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := "- groups:\n  - system:bootstrappers\n  - system:nodes\n  rolearn: arn:aws:iam::000000000000:role/old\n  username: system:node:{{EC2PrivateDNSName}}\n"
	if d := cmp.Diff(want, cm.Data["mapRoles"]); d != "" {
		t.Error(d)
	}
}
