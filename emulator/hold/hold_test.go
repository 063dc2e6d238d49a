package hold

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	plain     = "aws-cli/1.45.11 md/Botocore#1.43.11 ua/2.1 os/linux#6 md/arch#x86_64 lang/python#3.11.7 m/Z,N,b,g,D cfg/retry-mode#legacy botocore/1.43.11"
	waiting   = "aws-cli/1.45.11 md/Botocore#1.43.11 ua/2.1 os/linux#6 md/arch#x86_64 lang/python#3.11.7 m/B,Z,b,D,N,g cfg/retry-mode#legacy botocore/1.43.11"
	active    = "aws-cli/2.27.0 md/awscrt#0.26.1 ua/2.1 os/linux#6 m/B,E,b,Z cfg/retry-mode#standard md/installer#exe md/prompt#off md/command#eks.wait.cluster-active"
	deleted   = "aws-cli/2.27.0 md/awscrt#0.26.1 ua/2.1 os/linux#6 m/B,E,b,Z md/prompt#off md/command#eks.wait.cluster-deleted"
	terraform = "APN/1.0 HashiCorp/1.0 Terraform/1.9.5 (+https://www.terraform.io) terraform-provider-aws/6.0.0 (+https://registry.terraform.io/providers/hashicorp/aws) aws-sdk-go-v2/1.36.3 m/g"
	capa      = "aws.cluster.x-k8s.io/v2.9.0 aws-sdk-go-v2/1.38.0 ua/2.1 os/linux lang/go#1.24 api/eks#1.73.0 m/B,E,e"
)

func TestClientOf(t *testing.T) {
	for ua, want := range map[string]client{
		"": {}, plain: {}, "aws-cli/2.27.0 md/command#eks.describe-cluster": {}, "m/ m/A,BB md/command": {},
		waiting: {waits: true}, terraform: {waits: true}, capa: {},
		"aws-sdk-go-v2/1.38.0 ua/2.1 os/linux lang/go#1.24 api/eks#1.73.0 m/E,B": {waits: true},
		active: {true, "ClusterActive"}, deleted: {true, "ClusterDeleted"},
		"md/command#eks.wait.fargate-profile-active": {true, "FargateProfileActive"},
		"md/command#eks.wait.":                       {true, ""},
	} {
		if got := clientOf(ua); got != want {
			t.Errorf("%s: %+v, want %+v", ua, got, want)
		}
	}
}

type world struct {
	*Holder
	t     *testing.T
	store *store.Store
	clock *clocktesting.FakeClock
	scope awsid.Scope
	stop  chan struct{}
	calls chan struct{} // one for each call of the operation
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, store: s, clock: clocktesting.NewFakeClock(time.Now()), scope: awsid.Scope{Account: "1", Region: "us-east-1"},
		stop: make(chan struct{}), calls: make(chan struct{}, 100),
	}
	w.Holder = New(s, w.clock, w.stop)
	return w
}

// set writes the cluster's status, "" for no cluster.
func (w *world) set(status ekstypes.ClusterStatus) {
	w.t.Helper()
	err := w.store.Update(w.t.Context(), func(tx *store.Tx) error {
		if status == "" {
			ekssvc.Clusters.Delete(tx, w.scope, "dev")
			return nil
		}
		ekssvc.Clusters.Put(tx, w.scope, "dev", &ekssvc.Cluster{Resource: ekstypes.Cluster{Name: aws.String("dev"), Status: status}})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// look describes the cluster as a client with the user agent would. The answer is
// its status, GONE if there is none.
func (w *world) look(ctx context.Context, userAgent string) <-chan ekstypes.ClusterStatus {
	out := make(chan ekstypes.ClusterStatus, 1)
	c := gateway.Call{Service: "eks", Operation: "DescribeCluster", Caller: awsid.Caller{Scope: w.scope, UserAgent: userAgent}}
	go func() {
		got, err := w.Call(ctx, c, func() (any, error) {
			w.calls <- struct{}{}
			if c := ekssvc.Clusters.Get(w.store, w.scope, "dev"); c != nil {
				r := c.Resource
				return &eks.DescribeClusterOutput{Cluster: &r}, nil
			}
			return (*eks.DescribeClusterOutput)(nil), &ekstypes.ResourceNotFoundException{}
		})
		if err != nil {
			out <- "GONE"
			return
		}
		out <- got.(*eks.DescribeClusterOutput).Cluster.Status
	}()
	return out
}

func TestHold(t *testing.T) {
	const creating, active_, deleting, updating = ekstypes.ClusterStatusCreating, ekstypes.ClusterStatusActive, ekstypes.ClusterStatusDeleting, ekstypes.ClusterStatusUpdating
	for _, tc := range []struct {
		name      string
		userAgent string
		at        ekstypes.ClusterStatus
		then      ekstypes.ClusterStatus // "" for its end
		want      ekstypes.ClusterStatus
		held      bool
	}{
		{"a plain look sees what is", plain, creating, active_, creating, false},
		{"a waiter sees what comes", waiting, creating, active_, active_, true},
		{"also the end", waiting, deleting, "", "GONE", true},
		{"a waiter that fails by its name does so at once", active, deleting, "", deleting, false},
		{"and one that does not waits", deleted, deleting, "", "GONE", true},
		{"cluster-deleted fails while creating", deleted, creating, active_, creating, false},
		{"cluster-active", active, updating, active_, active_, true},
		{"Terraform", terraform, updating, active_, active_, true},
		{"Cluster API's waiter for UPDATING", capa, updating, active_, updating, false},
		{"what lasts is told at once", waiting, active_, updating, active_, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.set(tc.at)
			got := w.look(t.Context(), tc.userAgent)
			<-w.calls // it has looked
			if tc.held {
				<-w.calls // and has subscribed
			} else if s := <-got; s != tc.want {
				t.Fatalf("answer %s, want %s", s, tc.want)
			} else {
				return
			}
			select {
			case s := <-got:
				t.Fatalf("answered %s at once", s)
			default:
			}
			w.set(tc.then)
			if s := <-got; s != tc.want {
				t.Errorf("answer %s, want %s", s, tc.want)
			}
		})
	}
}

// TestLetGo: nobody is held for ever.
func TestLetGo(t *testing.T) {
	for name, end := range map[string]func(w *world, cancel func()){
		"time":                 func(w *world, _ func()) { w.clock.Step(Most) },
		"the emulator's end":   func(w *world, _ func()) { close(w.stop) },
		"the client goes away": func(_ *world, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.set(ekstypes.ClusterStatusCreating)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			got := w.look(ctx, waiting)
			<-w.calls
			<-w.calls
			end(w, cancel)
			if s := <-got; s != ekstypes.ClusterStatusCreating {
				t.Errorf("answer %s", s)
			}
		})
	}
}
