package autoscaling

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

var transitions = []string{"autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"}

// putHook writes a hook over the one of its name. Hooks are stored and shown;
// instances do not wait for them.
func putHook(tx *store.Tx, sc awsid.Scope, h types.LifecycleHook) error {
	if err := required("lifecycleHookName", h.LifecycleHookName); err != nil {
		return err
	}
	id := *h.AutoScalingGroupName + "/" + *h.LifecycleHookName
	out := types.LifecycleHook{DefaultResult: aws.String("ABANDON"), HeartbeatTimeout: aws.Int32(3600)}
	if old := hooks.Get(tx, sc, id); old != nil {
		out = old.Resource
	}
	out.AutoScalingGroupName, out.LifecycleHookName = h.AutoScalingGroupName, h.LifecycleHookName
	set(&out.LifecycleTransition, h.LifecycleTransition)
	set(&out.DefaultResult, h.DefaultResult)
	set(&out.HeartbeatTimeout, h.HeartbeatTimeout)
	set(&out.NotificationMetadata, h.NotificationMetadata)
	set(&out.NotificationTargetARN, h.NotificationTargetARN)
	set(&out.RoleARN, h.RoleARN)
	if aws.ToString(out.NotificationTargetARN) == "" {
		out.NotificationTargetARN = nil
	}
	switch {
	case !slices.Contains(transitions, aws.ToString(out.LifecycleTransition)):
		return validation("Invalid lifecycle transition: %s. Valid values are %s.", aws.ToString(out.LifecycleTransition), strings.Join(transitions, ", "))
	case *out.DefaultResult != "CONTINUE" && *out.DefaultResult != "ABANDON":
		return validation("Invalid default result: %s. Valid values are CONTINUE and ABANDON.", *out.DefaultResult)
	case *out.HeartbeatTimeout < 30 || *out.HeartbeatTimeout > 7200:
		return validation("1 validation error detected: Value '%d' at 'heartbeatTimeout' failed to satisfy constraint: Member must be between 30 and 7200", *out.HeartbeatTimeout)
	}
	out.GlobalTimeout = aws.Int32(min(*out.HeartbeatTimeout*100, 172800))
	hooks.Put(tx, sc, id, &hook{Scope: sc, Resource: out})
	return nil
}

// PutLifecycleHook implements the operation.
func (s *Service) PutLifecycleHook(ctx context.Context, in *autoscaling.PutLifecycleHookInput, _ ...func(*autoscaling.Options)) (*autoscaling.PutLifecycleHookOutput, error) {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.read(tx, sc, *in.AutoScalingGroupName) == nil {
			return noGroup(*in.AutoScalingGroupName)
		}
		return putHook(tx, sc, types.LifecycleHook{
			AutoScalingGroupName: in.AutoScalingGroupName, LifecycleHookName: in.LifecycleHookName, LifecycleTransition: in.LifecycleTransition, DefaultResult: in.DefaultResult,
			HeartbeatTimeout: in.HeartbeatTimeout, NotificationMetadata: in.NotificationMetadata, NotificationTargetARN: in.NotificationTargetARN, RoleARN: in.RoleARN,
		})
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.PutLifecycleHookOutput{}, nil
}

// DescribeLifecycleHooks implements the operation.
func (s *Service) DescribeLifecycleHooks(ctx context.Context, in *autoscaling.DescribeLifecycleHooksInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeLifecycleHooksOutput, error) {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	if s.read(s.store, sc, *in.AutoScalingGroupName) == nil {
		return nil, noGroup(*in.AutoScalingGroupName)
	}
	out := &autoscaling.DescribeLifecycleHooksOutput{LifecycleHooks: []types.LifecycleHook{}}
	for _, h := range hooks.ListPrefix(s.store, sc, *in.AutoScalingGroupName+"/") {
		if len(in.LifecycleHookNames) == 0 || slices.Contains(in.LifecycleHookNames, *h.Resource.LifecycleHookName) {
			out.LifecycleHooks = append(out.LifecycleHooks, h.Resource)
		}
	}
	return out, nil
}

// DeleteLifecycleHook implements the operation.
func (s *Service) DeleteLifecycleHook(ctx context.Context, in *autoscaling.DeleteLifecycleHookInput, _ ...func(*autoscaling.Options)) (*autoscaling.DeleteLifecycleHookOutput, error) {
	if err := required("autoScalingGroupName", in.AutoScalingGroupName); err != nil {
		return nil, err
	}
	if err := required("lifecycleHookName", in.LifecycleHookName); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if s.read(tx, sc, *in.AutoScalingGroupName) == nil {
			return noGroup(*in.AutoScalingGroupName)
		}
		id := *in.AutoScalingGroupName + "/" + *in.LifecycleHookName
		if hooks.Get(tx, sc, id) == nil {
			return validation("No Lifecycle Hook found with name: %s", *in.LifecycleHookName)
		}
		hooks.Delete(tx, sc, id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &autoscaling.DeleteLifecycleHookOutput{}, nil
}

// DescribeLifecycleHookTypes implements the operation.
func (s *Service) DescribeLifecycleHookTypes(context.Context, *autoscaling.DescribeLifecycleHookTypesInput, ...func(*autoscaling.Options)) (*autoscaling.DescribeLifecycleHookTypesOutput, error) {
	return &autoscaling.DescribeLifecycleHookTypesOutput{LifecycleHookTypes: slices.Clone(transitions)}, nil
}

// metrics are what EnableMetricsCollection takes.
var metrics = []string{
	"GroupAndWarmPoolDesiredCapacity", "GroupAndWarmPoolTotalCapacity", "GroupDesiredCapacity", "GroupInServiceCapacity", "GroupInServiceInstances", "GroupMaxSize", "GroupMinSize",
	"GroupPendingCapacity", "GroupPendingInstances", "GroupStandbyCapacity", "GroupStandbyInstances", "GroupTerminatingCapacity", "GroupTerminatingInstances",
	"GroupTotalCapacity", "GroupTotalInstances", "WarmPoolDesiredCapacity", "WarmPoolMinSize", "WarmPoolPendingCapacity", "WarmPoolTerminatingCapacity",
	"WarmPoolTotalCapacity", "WarmPoolWarmedCapacity",
}

func (s *Service) setMetrics(ctx context.Context, name *string, which []string, on bool) error {
	if err := required("autoScalingGroupName", name); err != nil {
		return err
	}
	if len(which) == 0 {
		which = metrics
	}
	for _, m := range which {
		if !slices.Contains(metrics, m) {
			return validation("%s is not a valid metric type.", m)
		}
	}
	sc := awsid.CallerFrom(ctx).Scope
	return s.store.Update(ctx, func(tx *store.Tx) error {
		return s.edit(tx, sc, *name, func(g *group) error {
			kept := slices.DeleteFunc(slices.Clone(g.Resource.EnabledMetrics), func(m types.EnabledMetric) bool { return slices.Contains(which, *m.Metric) })
			for _, m := range which {
				if on {
					kept = append(kept, types.EnabledMetric{Metric: aws.String(m), Granularity: aws.String("1Minute")})
				}
			}
			g.Resource.EnabledMetrics = kept
			return nil
		})
	})
}

// EnableMetricsCollection implements the operation; nothing collects them.
func (s *Service) EnableMetricsCollection(ctx context.Context, in *autoscaling.EnableMetricsCollectionInput, _ ...func(*autoscaling.Options)) (*autoscaling.EnableMetricsCollectionOutput, error) {
	if g := aws.ToString(in.Granularity); g != "1Minute" {
		return nil, validation("%s is not a valid metric granularity. Valid value is 1Minute.", g)
	}
	if err := s.setMetrics(ctx, in.AutoScalingGroupName, in.Metrics, true); err != nil {
		return nil, err
	}
	return &autoscaling.EnableMetricsCollectionOutput{}, nil
}

// DisableMetricsCollection implements the operation.
func (s *Service) DisableMetricsCollection(ctx context.Context, in *autoscaling.DisableMetricsCollectionInput, _ ...func(*autoscaling.Options)) (*autoscaling.DisableMetricsCollectionOutput, error) {
	if err := s.setMetrics(ctx, in.AutoScalingGroupName, in.Metrics, false); err != nil {
		return nil, err
	}
	return &autoscaling.DisableMetricsCollectionOutput{}, nil
}
