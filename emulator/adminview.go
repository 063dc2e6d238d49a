package emulator

import (
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
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
		MemoryBytes: residentMemory(),
		Store:       api.Store{Revision: v.store.Revision(), SizeBytes: st.Size, InUseBytes: st.InUse, QuotaBytes: st.Quota, Alarms: alarms},
	}
	for _, c := range eks.Clusters.ListAll(v.store) {
		out.Clusters = append(out.Clusters, v.cluster(ctx, c))
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
	out.IPs = v.addresses(c)
	return out
}

// addresses counts those of the subnets in which the cluster has interfaces.
func (v adminView) addresses(c *eks.Cluster) api.IPs {
	var out api.IPs
	vpc := c.Resource.ResourcesVpcConfig
	if vpc == nil {
		return out
	}
	subnets := map[string]bool{}
	for _, id := range vpc.SubnetIds {
		subnets[id] = true
	}
	for _, n := range eks.Nodegroups.ListPrefix(v.store, c.Scope, eks.ClusterPrefix(*c.Resource.Name)) {
		for _, id := range n.Resource.Subnets {
			subnets[id] = true
		}
	}
	for id := range subnets {
		p := ec2.SubnetAddresses.Get(v.store, c.Scope, id)
		if p == nil || p.IPv4 == nil {
			continue
		}
		out.Used += p.IPv4.Taken()
		out.Total += p.IPv4.Taken() + p.IPv4.Free()
	}
	return out
}

// Reset implements admin.Emulator: everything is gone when it returns.
func (v adminView) Reset(ctx context.Context) error {
	v.resetting.Lock()
	defer v.resetting.Unlock()
	v.loops.stop()
	defer v.loops.start(v.life)
	// Each has a process that takes its time to end.
	deletions, dctx := errgroup.WithContext(ctx)
	for _, c := range eks.Clusters.ListAll(v.store) {
		deletions.Go(func() error {
			if err := v.backend.Delete(dctx, c.ID); err != nil {
				return fmt.Errorf("reset: cluster %s: %w", *c.Resource.Name, err)
			}
			return nil
		})
	}
	if err := deletions.Wait(); err != nil {
		return err
	}
	if err := v.store.Clear(ctx); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	return nil
}
