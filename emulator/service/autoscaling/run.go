package autoscaling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// key names a group.
type key struct {
	scope awsid.Scope
	name  string
}

// agenda is what Run has to look at.
type agenda struct {
	mu    sync.Mutex
	fresh map[key]bool
	wake  chan struct{}
}

func (a *agenda) add(sc awsid.Scope, name string) {
	a.mu.Lock()
	a.fresh[key{sc, name}] = true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *agenda) take() map[key]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.fresh
	a.fresh = map[key]bool{}
	return out
}

const (
	retryAfter = 5 * time.Second // a launch that EC2 refused
	retryMost  = 5 * time.Minute
	sweepEvery = time.Hour
)

// Run brings groups to their desired capacity and records activities until ctx
// ends. All it knows is in the store: it can be killed at any line. Of the groups
// of managed node groups it only records; the lifecycle drives those.
func (s *Service) Run(ctx context.Context) error {
	a := &agenda{fresh: map[key]bool{}, wake: make(chan struct{}, 1)}
	defer s.store.Subscribe(groups.Name(), func(c store.Change) { a.add(c.Scope, c.ID) })()
	defer s.Fleet.Watch(a.add)()
	due, tries := map[key]time.Time{}, map[key]int{}
	var swept time.Time
	for {
		todo := a.take()
		now := s.clock.Now()
		wait := sweepEvery
		for k, at := range due {
			if d := at.Sub(now); d > 0 {
				wait = min(wait, d)
				continue
			}
			todo[k] = true
		}
		for k := range todo {
			err := s.reconcile(ctx, k)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				delete(due, k)
				delete(tries, k)
				continue
			}
			again := min(retryAfter<<min(tries[k], 10), retryMost)
			s.log.Warn("autoscaling: will try again", "group", k.name, "error", err, "after", again.String())
			tries[k]++
			due[k] = now.Add(again)
			wait = min(wait, again)
		}
		if now.Sub(swept) >= sweepEvery {
			s.sweep(ctx)
			swept = now
		}
		timer := s.clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-a.wake:
		case <-timer.C():
		}
		timer.Stop()
	}
}

// sweep forgets activities that AWS would not show any more.
func (s *Service) sweep(ctx context.Context) {
	var old []store.Key
	for k, a := range activities.All(s.store) {
		if s.clock.Since(*a.Resource.StartTime) > activityLife {
			old = append(old, k)
		}
	}
	for some := range slices.Chunk(old, 200) {
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			for _, k := range some {
				activities.Delete(tx, k.Scope, k.ID)
			}
			return nil
		})
		if err != nil {
			s.log.Warn("autoscaling: old activities stay for another hour", "error", err)
			return
		}
	}
}

// reconcile brings one group a step nearer to its desired state. Whatever it
// changes wakes it again.
func (s *Service) reconcile(ctx context.Context, k key) error {
	members := s.Fleet.Grouped(s.store, k.scope)[k.name]
	g := s.read(s.store, k.scope, k.name)
	if g == nil {
		return s.endOrphans(ctx, k, members)
	}
	if err := s.record(ctx, g, members); err != nil || g.Owner != nil {
		return err
	}
	members = g.members(members)
	if g.Deleting && len(members) == 0 {
		return s.store.Update(ctx, func(tx *store.Tx) error {
			if now := groups.Get(tx, k.scope, k.name); now != nil && now.ID == g.ID {
				removeGroup(tx, k.scope, k.name)
			}
			return nil
		})
	}
	live, ends, causes := s.triage(g, members)
	surplus := len(live) - int(g.desired())
	if surplus > 0 && !g.suspended("Terminate") {
		for n, i := range g.victims(live) {
			if n == surplus {
				break
			}
			ends = append(ends, i)
			causes = append(causes, fmt.Sprintf("At %s an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from %d to %d.  At %s instance %s was selected for termination.",
				stamp(s.now()), len(live), g.desired(), stamp(s.now()), *i.InstanceId))
		}
	}
	if err := s.terminate(ctx, g, ends, causes); err != nil {
		return err
	}
	if surplus < 0 && !g.suspended("Launch") {
		return s.launch(ctx, g, live, -surplus)
	}
	return nil
}

// triage sorts members into those that count and those that are to go, with why.
func (s *Service) triage(g *group, members []ec2types.Instance) (live, ends []ec2types.Instance, causes []string) {
	for _, i := range members {
		switch {
		case i.State.Name == ec2types.InstanceStateNameShuttingDown:
		case slices.Contains(g.Leaving, *i.InstanceId):
			ends, causes = append(ends, i), append(causes, "") // has its activity
		case !g.healthy(i) && !g.suspended("ReplaceUnhealthy") && !g.suspended("HealthCheck"):
			ends = append(ends, i)
			causes = append(causes, fmt.Sprintf("At %s an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.", stamp(s.now())))
		default:
			live = append(live, i)
		}
	}
	return live, ends, causes
}

// terminate records and terminates instances.
func (s *Service) terminate(ctx context.Context, g *group, ends []ec2types.Instance, causes []string) error {
	if len(ends) == 0 {
		return nil
	}
	var ids []string
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		ids = nil
		for n, i := range ends {
			ids = append(ids, *i.InstanceId)
			id := activityID(g.name(), kindTerminate, *i.InstanceId)
			if activities.Get(tx, g.Scope, id) == nil {
				activities.Put(tx, g.Scope, id, s.newActivity(g, kindTerminate, *i.InstanceId, i, causes[n]))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := s.EC2.TerminateInstances(as(ctx, g.Scope), &ec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
		return fmt.Errorf("terminate instances of %s: %w", g.name(), err)
	}
	return nil
}

// endOrphans terminates instances whose group was deleted while EC2 was launching
// them. Those of managed node groups are the lifecycle's.
func (s *Service) endOrphans(ctx context.Context, k key, members []ec2types.Instance) error {
	var ids []string
	for _, i := range members {
		if alive(i) && tagOf(i, "eks:nodegroup-name") == "" {
			ids = append(ids, *i.InstanceId)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := s.EC2.TerminateInstances(as(ctx, k.scope), &ec2.TerminateInstancesInput{InstanceIds: ids})
	var refused smithy.APIError
	if errors.As(err, &refused) {
		return nil // gone meanwhile
	}
	return err
}

// victims orders the instances that may be scaled in: from the zone with most,
// then by the first termination policy, by default the oldest.
func (g *group) victims(live []ec2types.Instance) []ec2types.Instance {
	per := map[string]int{}
	var out []ec2types.Instance
	for _, i := range live {
		per[aws.ToString(i.SubnetId)]++
		if !slices.Contains(g.Protected, *i.InstanceId) {
			out = append(out, i)
		}
	}
	newest := len(g.Resource.TerminationPolicies) > 0 && g.Resource.TerminationPolicies[0] == "NewestInstance"
	age := func(a, b ec2types.Instance) int {
		c := aws.ToTime(a.LaunchTime).Compare(aws.ToTime(b.LaunchTime))
		if c == 0 {
			c = compare(*a.InstanceId, *b.InstanceId)
		}
		if newest {
			return -c
		}
		return c
	}
	slices.SortFunc(out, age)
	// Taking one changes what the fullest zone is: pick one by one.
	var picked []ec2types.Instance
	for len(out) > 0 {
		best := 0
		for n, i := range out {
			if per[aws.ToString(i.SubnetId)] > per[aws.ToString(out[best].SubnetId)] {
				best = n
			}
		}
		per[aws.ToString(out[best].SubnetId)]--
		picked = append(picked, out[best])
		out = slices.Delete(out, best, best+1)
	}
	return picked
}
