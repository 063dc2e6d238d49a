package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

func maxUnavailable(ng *ekssvc.Nodegroup, desired int) int {
	u := ng.Resource.UpdateConfig
	switch {
	case u == nil:
		return 1
	case u.MaxUnavailable != nil:
		return int(*u.MaxUnavailable)
	case u.MaxUnavailablePercentage != nil:
		return max(1, desired*int(*u.MaxUnavailablePercentage)/100)
	}
	return 1
}

// surge is how many nodes a roll adds before it takes any away.
func surge(ng *ekssvc.Nodegroup, desired int) int {
	if u := ng.Resource.UpdateConfig; u != nil && u.UpdateStrategy == ekstypes.NodegroupUpdateStrategiesMinimal {
		return 0
	}
	return maxUnavailable(ng, desired)
}

// errEviction ends a roll: a node's pods did not go in time.
var errEviction = errors.New("pods could not be evicted")

// drainAgain is how often an eviction that a PodDisruptionBudget refused is asked
// for again.
const drainAgain = time.Second

// retire drains instances and terminates those that are empty or have had their
// time. It answers when to look again at those that still drain. A roll that is
// not forced ends with errEviction instead of terminating a node that is not empty.
func (l *Lifecycle) retire(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime, ids []string, rolling bool) (again time.Duration, err error) {
	patience, forced, roll := l.Patience.ScaleIn, true, int64(0)
	if rolling {
		roll = ng.Generation
	}
	if rolling && !ng.Force {
		patience, forced = l.Patience.Drain, false
	}
	if err := l.cordonAll(ctx, ng, rt, ids, roll); err != nil {
		return 0, err
	}
	for _, id := range ids {
		i := ec2svc.Instances.Get(l.Store, ng.Scope, id)
		if i == nil {
			continue
		}
		left, since, err := l.drain(ctx, rt, aws.ToString(i.PrivateDnsName), roll)
		switch expired := l.Clock.Since(since) >= patience; {
		case err != nil:
			return 0, err
		case left > 0 && !expired:
			again = drainAgain
			continue
		case left > 0 && !forced:
			return 0, errEviction
		}
		if _, err := l.EC2.TerminateInstances(as(ctx, ng.Scope), &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
			return 0, fmt.Errorf("terminate %s: %w", id, err)
		}
	}
	return again, nil
}

// cordonAll cordons nodes that go together before the first of them is drained: else
// its pods would move to the next, and from there again.
func (l *Lifecycle) cordonAll(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime, ids []string, roll int64) error {
	if len(ids) < 2 {
		return nil // drain does it
	}
	for _, id := range ids {
		i := ec2svc.Instances.Get(l.Store, ng.Scope, id)
		if i == nil {
			continue
		}
		name := aws.ToString(i.PrivateDnsName)
		if n := rt.node(name); n == nil || n.Spec.Unschedulable {
			continue
		}
		// The watch may be behind: what is marked already keeps its time.
		n, err := rt.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			_, err = l.cordon(ctx, rt, n, roll)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("cordon %s: %w", name, err)
		}
	}
	return nil
}

func rolling(members []member) bool {
	return slices.ContainsFunc(members, func(m member) bool { return m.Outdated })
}

// rollFailed ends a version update whose nodes could not be drained.
func (l *Lifecycle) rollFailed(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime, ids []string) error {
	for _, id := range ids {
		if i := ec2svc.Instances.Get(l.Store, ng.Scope, id); i != nil {
			if err := rt.uncordon(ctx, aws.ToString(i.PrivateDnsName)); err != nil {
				return err
			}
		}
	}
	name := *ng.Resource.NodegroupName
	return l.editNodegroup(ctx, ng, func(tx *store.Tx, now *ekssvc.Nodegroup) bool {
		if now.Generation != ng.Generation || now.UpdateID == "" {
			return false
		}
		failUpdate(tx, now, ekstypes.ErrorDetail{
			ErrorCode: ekstypes.ErrorCodePodEvictionFailure, ResourceIds: ids,
			ErrorMessage: aws.String("Reached max retries while trying to evict pods from nodes in node group " + name),
		})
		return true
	})
}

// awaited are the members whose nodes are to become Ready before a creation or an
// update is done: those launched for it. A node that was broken before does not
// keep a group from being configured.
func (l *Lifecycle) awaited(ng *ekssvc.Nodegroup, members []member) []member {
	var since time.Time
	if u := ekssvc.Updates.Get(l.Store, ng.Scope, ekssvc.ChildID(*ng.Resource.ClusterName, ng.UpdateID)); ng.UpdateID != "" && u != nil {
		since = aws.ToTime(u.Resource.CreatedAt).Truncate(time.Second) // as coarse as launch times
	}
	return slices.DeleteFunc(slices.Clone(members), func(m member) bool {
		return m.Ready || m.Draining || m.Outdated || m.Launched.Before(since)
	})
}

// checkJoins gives a creation or a version update up whose instances have run for
// long without becoming Ready nodes. It answers when there may be something to
// give up.
func (l *Lifecycle) checkJoins(ctx context.Context, ng *ekssvc.Nodegroup, rt *runtime, awaited []member) (time.Duration, error) {
	if s := ng.Resource.Status; s != ekstypes.NodegroupStatusCreating && s != ekstypes.NodegroupStatusUpdating {
		return 0, nil
	}
	var late []string
	var next time.Duration
	for _, m := range awaited {
		if left := l.Patience.Join - l.Clock.Since(m.Launched); left > 0 && !rt.hosted.hopeless(m.ID) {
			next = soonest(next, left)
		} else {
			late = append(late, m.ID)
		}
	}
	if len(late) == 0 {
		return next, nil
	}
	slices.Sort(late)
	return 0, l.joinFailed(ctx, ng, l.anyNode(ng, rt, late), late, rt.hosted.because(late))
}

// anyNode tells whether one of the instances has at least registered.
func (l *Lifecycle) anyNode(ng *ekssvc.Nodegroup, rt *runtime, ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		i := ec2svc.Instances.Get(l.Store, ng.Scope, id)
		return i != nil && rt.node(aws.ToString(i.PrivateDnsName)) != nil
	})
}

// joinFailed says in EKS's words that nodes do not come up, and why where that is known:
// EKS leaves that to the instance's console.
func (l *Lifecycle) joinFailed(ctx context.Context, ng *ekssvc.Nodegroup, registered bool, ids []string, because string) error {
	msg := "Instances failed to join the kubernetes cluster"
	if registered {
		msg = "Unhealthy nodes in the kubernetes cluster"
	}
	msg += because
	return l.editNodegroup(ctx, ng, func(tx *store.Tx, now *ekssvc.Nodegroup) bool {
		if now.Generation != ng.Generation {
			return false
		}
		switch now.Resource.Status {
		case ekstypes.NodegroupStatusCreating:
			now.Resource.Status = ekstypes.NodegroupStatusCreateFailed
			now.Resource.Health = &ekstypes.NodegroupHealth{Issues: []ekstypes.Issue{{
				Code: ekstypes.NodegroupIssueCodeNodeCreationFailure, Message: &msg, ResourceIds: ids,
			}}}
		case ekstypes.NodegroupStatusUpdating:
			failUpdate(tx, now, ekstypes.ErrorDetail{
				ErrorCode: ekstypes.ErrorCodeNodeCreationFailure, ResourceIds: ids,
				ErrorMessage: aws.String("Couldn't proceed with upgrade process as new nodes are not joining node group " + *now.Resource.NodegroupName + because),
			})
		default:
			return false
		}
		return true
	})
}

// failUpdate ends the update in progress. A group whose roll failed stays as it
// is, partly rolled, until the next version update.
func failUpdate(tx *store.Tx, ng *ekssvc.Nodegroup, why ekstypes.ErrorDetail) {
	u := ekssvc.Updates.Get(tx, ng.Scope, ekssvc.ChildID(*ng.Resource.ClusterName, ng.UpdateID))
	if u != nil && u.Resource.Type == ekstypes.UpdateTypeVersionUpdate {
		ng.RollFailed = ng.Generation
	}
	ekssvc.FinishUpdate(tx, ng.Scope, *ng.Resource.ClusterName, ng.UpdateID, why)
	ng.UpdateID, ng.Resource.Status = "", ekstypes.NodegroupStatusActive
}
