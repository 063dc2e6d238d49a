package lifecycle

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	clocktesting "k8s.io/utils/clock/testing"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// TestUpdateTakesItsTime: how long an update is InProgress follows from its own
// time stamp, also for reconcilers that began in the middle.
func TestUpdateTakesItsTime(t *testing.T) {
	realistic, err := timing.New(timing.Realistic, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		timing timing.Timing
		typ    ekstypes.UpdateType
		want   time.Duration
	}{
		{"fast", timing.Timing{}, ekstypes.UpdateTypeEndpointAccessUpdate, time.Second},
		{"realistic", realistic, ekstypes.UpdateTypeEndpointAccessUpdate, 9 * time.Second},
		{"version", realistic, ekstypes.UpdateTypeVersionUpdate, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newNetwork(t)
			n.Timing = tc.timing
			began := n.Clock.Now()
			n.update(t, tc.typ, began)
			clk := n.Clock.(*clocktesting.FakeClock)
			clk.Step(tc.want / 3)
			n.Lifecycle = New(n.Config) // the emulator was restarted
			left, status := n.reconcileUpdate(t)
			if want := tc.want - tc.want/3; left != want || status != ekstypes.ClusterStatusUpdating {
				t.Errorf("after a third: %s with %s left, want %s", status, left, want)
			}
			clk.Step(left)
			if left, status = n.reconcileUpdate(t); left != 0 || status != ekstypes.ClusterStatusActive {
				t.Errorf("in the end: %s with %s left", status, left)
			}
		})
	}
}

// update puts the cluster into an update that began then.
func (n *network) update(t *testing.T, typ ekstypes.UpdateType, began time.Time) {
	t.Helper()
	for _, status := range []ekstypes.ClusterStatus{ekstypes.ClusterStatusActive, ekstypes.ClusterStatusUpdating} {
		err := n.Store.Update(t.Context(), func(tx *store.Tx) error {
			c := ekssvc.Clusters.Edit(tx, n.scope, "dev")
			c.Resource.Status, c.UpdateID = status, "u"
			ekssvc.Clusters.Put(tx, n.scope, "dev", c)
			ekssvc.Updates.Put(tx, n.scope, ekssvc.ChildID("dev", "u"), &ekssvc.Update{
				Scope: n.scope, Cluster: "dev",
				Resource: ekstypes.Update{Id: aws.String("u"), Type: typ, Status: ekstypes.UpdateStatusInProgress, CreatedAt: &began},
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (n *network) reconcileUpdate(t *testing.T) (time.Duration, ekstypes.ClusterStatus) {
	t.Helper()
	left, err := n.updateCluster(n.ctx, ekssvc.Clusters.Get(n.Store, n.scope, "dev"))
	if err != nil {
		t.Fatal(err)
	}
	return left, ekssvc.Clusters.Get(n.Store, n.scope, "dev").Resource.Status
}

func TestPatienceDefaults(t *testing.T) {
	realistic, err := timing.New(timing.Realistic, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		given  Patience
		timing timing.Timing
		want   Patience
	}{
		{Patience{}, timing.Timing{}, Patience{Create: 3 * time.Minute, Drain: 15 * time.Minute, ScaleIn: 5 * time.Second, Join: 5 * time.Minute}},
		{Patience{}, realistic, Patience{Create: 15 * time.Minute, Drain: 15 * time.Minute, ScaleIn: 5 * time.Minute, Join: 25 * time.Minute}},
		{Patience{Create: time.Hour, Join: time.Second}, realistic, Patience{Create: time.Hour, Drain: 15 * time.Minute, ScaleIn: 5 * time.Minute, Join: time.Second}},
	} {
		if got := tc.given.withDefaults(tc.timing); got != tc.want {
			t.Errorf("%+v becomes %+v, want %+v", tc.given, got, tc.want)
		}
	}
}
