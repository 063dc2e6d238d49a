package autoscaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// stamp is a time as causes spell it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func zoneOf(members []ec2types.Instance, id string) ec2types.Instance {
	for _, i := range members {
		if *i.InstanceId == id {
			return i
		}
	}
	return ec2types.Instance{}
}

var descriptions = map[string]string{kindLaunch: "Launching a new EC2 instance: ", kindTerminate: "Terminating EC2 instance: "}

// newActivity is one that has just begun.
func (s *Service) newActivity(g *group, kind, instance string, i ec2types.Instance, cause string) *activity {
	now := s.now()
	details := map[string]string{}
	if i.SubnetId != nil {
		details["Subnet ID"] = *i.SubnetId
	}
	if i.Placement != nil {
		details["Availability Zone"] = aws.ToString(i.Placement.AvailabilityZone)
	}
	return &activity{Scope: g.Scope, GroupID: g.ID, Instance: instance, Resource: types.Activity{
		ActivityId: aws.String(awsid.NewUUID()), AutoScalingGroupName: aws.String(g.name()), AutoScalingGroupARN: aws.String(g.arn()), Cause: &cause,
		Description: aws.String(descriptions[kind] + instance), Details: aws.String(encode(details)), StartTime: &now, Progress: aws.Int32(50),
		StatusCode: types.ScalingActivityStatusCodeInProgress,
	}}
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}" // maps of strings always have a JSON form
	}
	return string(b)
}

func (a *activity) end(now time.Time, code types.ScalingActivityStatusCode) {
	a.Resource.StatusCode, a.Resource.EndTime, a.Resource.Progress = code, &now, aws.Int32(100)
}

// record writes the activities that the states of a group's instances tell of, and
// tells EventBridge about those that are done.
func (s *Service) record(ctx context.Context, g *group, members []ec2types.Instance) error {
	if !s.anyNews(g, members) {
		return nil
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		now := s.resolve(tx, groups.Edit(tx, g.Scope, g.name()))
		if now == nil || now.ID != g.ID {
			return nil
		}
		j := journal{s: s, tx: tx, g: now}
		j.count(members)
		for _, i := range members {
			if err := j.note(i); err != nil {
				return err
			}
		}
		if now.Why != "" && j.live == int(now.desired()) {
			now.Why, j.dirty = "", true
		}
		if j.dirty {
			s.put(tx, now)
		}
		return nil
	})
}

// anyNews tells whether record has something to write, without a transaction.
func (s *Service) anyNews(g *group, members []ec2types.Instance) bool {
	live := 0
	for _, i := range members {
		if alive(i) {
			live++
		}
		l := activities.Get(s.store, g.Scope, activityID(g.name(), kindLaunch, *i.InstanceId))
		t := activities.Get(s.store, g.Scope, activityID(g.name(), kindTerminate, *i.InstanceId))
		switch i.State.Name {
		case ec2types.InstanceStateNamePending:
			if l == nil {
				return true
			}
		case ec2types.InstanceStateNameShuttingDown:
			if t == nil || l != nil && l.open() {
				return true
			}
		case ec2types.InstanceStateNameTerminated:
			if l != nil && (l.open() || t == nil || t.open()) {
				return true
			}
		default:
			if l == nil || l.open() {
				return true
			}
		}
	}
	return g.Why != "" && live == int(g.desired())
}

func (a *activity) open() bool {
	return a.Resource.StatusCode == types.ScalingActivityStatusCodeInProgress
}

func alive(i ec2types.Instance) bool {
	return i.State.Name == ec2types.InstanceStateNamePending || i.State.Name == ec2types.InstanceStateNameRunning
}

// journal writes activities of one group in a transaction.
type journal struct {
	s     *Service
	tx    *store.Tx
	g     *group
	known int // live instances whose launch is recorded
	live  int
	dirty bool
}

func (j *journal) id(kind string, i ec2types.Instance) string {
	return activityID(j.g.name(), kind, *i.InstanceId)
}

func (j *journal) count(members []ec2types.Instance) {
	for _, i := range members {
		if !alive(i) {
			continue
		}
		j.live++
		if activities.Get(j.tx, j.g.Scope, j.id(kindLaunch, i)) != nil {
			j.known++
		}
	}
}

func (j *journal) note(i ec2types.Instance) error {
	now := j.s.now()
	launch := activities.Edit(j.tx, j.g.Scope, j.id(kindLaunch, i))
	if launch == nil {
		if i.State.Name == ec2types.InstanceStateNameTerminated {
			return nil // too old to tell of
		}
		cause := fmt.Sprintf("At %s an instance was started in response to a difference between desired and actual capacity, increasing the capacity from %d to %d.", stamp(now), j.known, max(j.live, j.known+1))
		if j.g.Why != "" {
			cause = "At " + stamp(now) + " " + j.g.Why + "  " + cause
		}
		launch = j.s.newActivity(j.g, kindLaunch, *i.InstanceId, i, cause)
		launch.Resource.StartTime = i.LaunchTime
		if aws.ToBool(j.g.Resource.NewInstancesProtectedFromScaleIn) {
			j.g.Protected, j.dirty = append(j.g.Protected, *i.InstanceId), true
		}
		activities.Put(j.tx, j.g.Scope, j.id(kindLaunch, i), launch)
	}
	if launch.open() && i.State.Name != ec2types.InstanceStateNamePending {
		code := types.ScalingActivityStatusCodeSuccessful
		if !alive(i) {
			code = types.ScalingActivityStatusCodeCancelled
		}
		launch.end(now, code)
		activities.Put(j.tx, j.g.Scope, j.id(kindLaunch, i), launch)
		if code == types.ScalingActivityStatusCodeSuccessful {
			if err := j.tell("EC2 Instance Launch Successful", launch, "EC2", "AutoScalingGroup"); err != nil {
				return err
			}
		}
	}
	if i.State.Name != ec2types.InstanceStateNameShuttingDown && i.State.Name != ec2types.InstanceStateNameTerminated {
		return nil
	}
	return j.noteEnd(i)
}

func (j *journal) noteEnd(i ec2types.Instance) error {
	now := j.s.now()
	end := activities.Edit(j.tx, j.g.Scope, j.id(kindTerminate, i))
	if end == nil {
		cause := fmt.Sprintf("At %s an instance was taken out of service in response to an EC2 health check indicating it has been terminated or stopped.", stamp(now))
		if j.live >= int(j.g.desired()) { // nobody missed it: it was scaled in
			cause = fmt.Sprintf("At %s an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity from %d to %d.  At %s instance %s was selected for termination.",
				stamp(now), j.live+1, j.live, stamp(now), *i.InstanceId)
		}
		end = j.s.newActivity(j.g, kindTerminate, *i.InstanceId, i, cause)
		activities.Put(j.tx, j.g.Scope, j.id(kindTerminate, i), end)
	}
	if !end.open() || i.State.Name != ec2types.InstanceStateNameTerminated {
		return nil
	}
	end.end(now, types.ScalingActivityStatusCodeSuccessful)
	activities.Put(j.tx, j.g.Scope, j.id(kindTerminate, i), end)
	return j.tell("EC2 Instance Terminate Successful", end, "AutoScalingGroup", "EC2")
}

// tell emits EventBridge's event of a finished activity: EC2 Auto Scaling User
// Guide, "Amazon EC2 Auto Scaling event reference".
func (j *journal) tell(what string, a *activity, origin, destination string) error {
	if j.s.Events == nil {
		return nil
	}
	r := a.Resource
	resources := []string{*r.AutoScalingGroupARN}
	if a.Instance != "" {
		resources = append(resources, j.g.Scope.ARN("ec2", "instance/"+a.Instance))
	}
	return j.s.Events.Emit(j.tx, j.g.Scope, "aws.autoscaling", what, resources, map[string]any{
		"StatusCode": "InProgress", "Description": *r.Description, "AutoScalingGroupName": j.g.name(), "ActivityId": *r.ActivityId, "RequestId": *r.ActivityId,
		"Details": json.RawMessage(*r.Details), "StatusMessage": aws.ToString(r.StatusMessage), "StartTime": stamp(*r.StartTime), "EndTime": stamp(*r.EndTime),
		"EC2InstanceId": a.Instance, "Cause": *r.Cause, "Origin": origin, "Destination": destination,
	})
}

// LaunchFailed records that an instance could not be launched, in EC2's words. The
// lifecycle calls it for managed node groups.
func (s *Service) LaunchFailed(ctx context.Context, sc awsid.Scope, name, subnet string, cause error) error {
	var refused smithy.APIError
	if !errors.As(cause, &refused) {
		return nil // the emulator's own trouble, which AWS would not know
	}
	at := s.placeOf(ctx, sc, subnet)
	return s.store.Update(ctx, func(tx *store.Tx) error {
		g := s.read(tx, sc, name)
		if g == nil {
			return nil
		}
		why := fmt.Sprintf("At %s an instance was started in response to a difference between desired and actual capacity.", stamp(s.now()))
		if g.Why != "" {
			why = "At " + stamp(s.now()) + " " + g.Why + "  " + why
		}
		a := s.newActivity(g, kindFailure, "", at, why)
		msg := strings.TrimSpace(refused.ErrorMessage()) + " Launching EC2 instance failed."
		a.Resource.Description = aws.String("Launching a new EC2 instance.  Status Reason: " + msg)
		a.Resource.StatusMessage = &msg
		a.end(s.now(), types.ScalingActivityStatusCodeFailed)
		activities.Put(tx, sc, activityID(name, kindFailure, *a.Resource.ActivityId), a)
		j := journal{s: s, tx: tx, g: g}
		return j.tell("EC2 Instance Launch Unsuccessful", a, "EC2", "AutoScalingGroup")
	})
}

// placeOf is an instance that would have been in a subnet.
func (s *Service) placeOf(ctx context.Context, sc awsid.Scope, subnet string) ec2types.Instance {
	out, err := s.EC2.DescribeSubnets(as(ctx, sc), &ec2.DescribeSubnetsInput{SubnetIds: []string{subnet}})
	if subnet == "" || err != nil || len(out.Subnets) == 0 {
		return ec2types.Instance{}
	}
	return ec2types.Instance{SubnetId: &subnet, Placement: &ec2types.Placement{AvailabilityZone: out.Subnets[0].AvailabilityZone}}
}

// DescribeScalingActivities implements the operation, newest first.
func (s *Service) DescribeScalingActivities(ctx context.Context, in *autoscaling.DescribeScalingActivitiesInput, _ ...func(*autoscaling.Options)) (*autoscaling.DescribeScalingActivitiesOutput, error) {
	sc := awsid.CallerFrom(ctx).Scope
	deleted := aws.ToBool(in.IncludeDeletedGroups)
	live := map[string]bool{}
	for _, g := range s.list(s.store, sc) {
		live[g.ID] = true
	}
	var recs []*activity
	if name := aws.ToString(in.AutoScalingGroupName); name != "" {
		if s.read(s.store, sc, name) == nil && !deleted {
			return nil, noGroup(name)
		}
		recs = activities.ListPrefix(s.store, sc, name+"/")
	} else {
		recs = activities.List(s.store, sc)
	}
	all := []types.Activity{}
	for _, a := range recs {
		if !live[a.GroupID] && !deleted || len(in.ActivityIds) > 0 && !slices.Contains(in.ActivityIds, *a.Resource.ActivityId) {
			continue
		}
		v := a.Resource
		if !live[a.GroupID] {
			v.AutoScalingGroupState = aws.String("Deleted")
		}
		all = append(all, v)
	}
	slices.SortStableFunc(all, func(a, b types.Activity) int {
		return slices.Compare([]int64{b.StartTime.UnixNano()}, []int64{a.StartTime.UnixNano()})
	})
	all, next, err := page(all, in.NextToken, in.MaxRecords, 100, 100)
	if err != nil {
		return nil, err
	}
	return &autoscaling.DescribeScalingActivitiesOutput{Activities: all, NextToken: next}, nil
}
