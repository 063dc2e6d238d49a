package emulator

import (
	"context"
	"net/netip"
	"os"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	corev1 "k8s.io/api/core/v1"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// awsAuth reads aws-auth through the reconcilers that run now.
type awsAuth struct{ e *Emulator }

// AWSAuth implements authn.ConfigMaps.
func (a awsAuth) AWSAuth(ctx context.Context, clusterID string) (map[string]string, bool) {
	lc := a.e.loops.lifecycle()
	if lc == nil {
		return nil, false
	}
	return lc.AWSAuth(ctx, clusterID)
}

// adminView is what the admin API shows of an emulator.
type adminView struct {
	*Emulator
	services []*wire.Service
}

// Health implements admin.Emulator.
func (v adminView) Health(context.Context) api.Health {
	h := api.Health{
		Status: api.Running, Version: v.cfg.Version, PID: os.Getpid(), Services: map[string]api.Service{},
		Clusters: len(eks.Clusters.ListAll(v.store)),
	}
	if v.store.Err() != nil {
		h.Status = "store lost"
	}
	for _, s := range v.services {
		n := 0
		for _, op := range s.Operations() {
			if op.Implemented() {
				n++
			}
		}
		h.Services[s.Model().ID] = api.Service{Status: "available", Operations: n}
	}
	return h
}

// CA implements admin.Emulator.
func (v adminView) CA(context.Context) ([]byte, error) { return v.ca, nil }

// Status implements admin.Emulator.
func (v adminView) Status(ctx context.Context) (api.Status, error) {
	st, err := v.etcd.Status(ctx)
	if err != nil {
		return api.Status{}, err
	}
	var alarms []string
	if st.Full {
		alarms = append(alarms, "NOSPACE")
	}
	if st.Corrupt {
		alarms = append(alarms, "CORRUPT")
	}
	out := api.Status{
		Version: v.cfg.Version, Endpoint: v.Endpoint(), PID: os.Getpid(), StartedAt: v.started,
		Uptime: api.Seconds(v.cfg.Clock.Since(v.started).Seconds()), DataDir: v.cfg.DataDir, Ephemeral: v.cfg.Ephemeral,
		IAM: string(v.cfg.iam), ContainerEndpoint: v.containers.Endpoint(),
		MemoryBytes: residentMemory(),
		Store:       api.Store{Revision: v.store.Revision(), SizeBytes: st.Size, InUseBytes: st.InUse, QuotaBytes: st.Quota, Alarms: alarms},
	}
	use, err := v.ips.Report(api.AddressQuery{})
	if err != nil {
		return api.Status{}, err
	}
	for _, c := range eks.Clusters.ListAll(v.store) {
		one := v.cluster(ctx, c)
		one.IPs = addresses(use, c)
		out.Clusters = append(out.Clusters, one)
	}
	return out, nil
}

func (v adminView) cluster(ctx context.Context, c *eks.Cluster) api.Cluster {
	out := api.Cluster{
		Account: c.Scope.Account, Region: c.Scope.Region, Name: *c.Resource.Name, Status: string(c.Resource.Status),
		Version: aws.ToString(c.Resource.Version), Endpoint: aws.ToString(c.Resource.Endpoint), CreatedAt: aws.ToTime(c.Resource.CreatedAt),
	}
	if info, err := v.backend.Get(ctx, c.ID); err == nil {
		out.PID, out.MemoryBytes = info.PID, info.RSS
	}
	if lc := v.loops.lifecycle(); lc != nil {
		if s, ok := lc.Stats(c.ID); ok {
			out.Nodes = api.Count{Total: s.Nodes, Ready: s.Ready}
			for phase, n := range s.Pods {
				out.Pods.Total += n
				if phase == corev1.PodRunning || phase == corev1.PodSucceeded {
					out.Pods.Ready += n
				}
			}
		}
	}
	return out
}

// Sessions implements admin.Emulator.
func (v adminView) Sessions(context.Context) api.Sessions {
	out := api.Sessions{Time: v.cfg.Clock.Now()}
	for _, s := range v.sts.Sessions() {
		out.Sessions = append(out.Sessions, api.Session{
			AccessKeyID: s.AccessKeyID, Account: s.Account, ARN: s.ARN, Operation: s.Operation, By: s.By, Issued: s.Issued, Expires: s.Until,
		})
	}
	return out
}

// AddressUse implements admin.Emulator.
func (v adminView) AddressUse(_ context.Context, q api.AddressQuery) (api.AddressUse, error) {
	return v.ips.Report(q)
}

// SubnetHoldings implements admin.Emulator.
func (v adminView) SubnetHoldings(_ context.Context, subnet string) (api.SubnetHoldings, error) {
	return v.ips.Holdings(subnet)
}

// waitingPods asks the reconcilers that run now.
func (e *Emulator) waitingPods(clusterID string) []dataplane.WaitingPod {
	lc := e.loops.lifecycle()
	if lc == nil {
		return nil
	}
	return lc.Waiting(clusterID)
}

func (e *Emulator) podAt(clusterID string, ip netip.Addr) string {
	lc := e.loops.lifecycle()
	if lc == nil {
		return ""
	}
	return lc.PodAt(clusterID, ip)
}

// addresses counts those of the subnets that the cluster uses: the sums of what
// AddressUse says of them, without the addresses that AWS keeps.
func addresses(use api.AddressUse, c *eks.Cluster) api.IPs {
	var out api.IPs
	for _, s := range use.Subnets {
		if s.Account == c.Scope.Account && s.Region == c.Scope.Region && slices.Contains(s.Clusters, *c.Resource.Name) {
			total := s.Size - s.Held[api.HeldReserved]
			out.Used += total - s.Free
			out.Total += total
		}
	}
	return out
}
