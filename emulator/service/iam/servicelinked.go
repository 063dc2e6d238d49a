package iam

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// linkedService is a service that has a service-linked role.
type linkedService struct {
	role, policy, description string
	suffix                    bool // takes a CustomSuffix
}

var linkedServices = map[string]linkedService{
	"eks.amazonaws.com":                  {role: "AWSServiceRoleForAmazonEKS", policy: "AmazonEKSServiceRolePolicy", description: "Allows Amazon EKS to call AWS services on your behalf."},
	"eks-nodegroup.amazonaws.com":        {role: "AWSServiceRoleForAmazonEKSNodegroup", policy: "AWSServiceRoleForAmazonEKSNodegroup", description: "This policy allows Amazon EKS to create and manage Nodegroups"},
	"eks-fargate.amazonaws.com":          {role: "AWSServiceRoleForAmazonEKSForFargate", policy: "AmazonEKSForFargateServiceRolePolicy", description: "This policy is required by AWS EKS Fargate to run fargate tasks"},
	"autoscaling.amazonaws.com":          {role: "AWSServiceRoleForAutoScaling", policy: "AutoScalingServiceRolePolicy", description: "Default Service-Linked Role enables access to AWS Services and Resources used or managed by Auto Scaling", suffix: true},
	"elasticloadbalancing.amazonaws.com": {role: "AWSServiceRoleForElasticLoadBalancing", policy: "AWSElasticLoadBalancingServiceRolePolicy", description: "Allows ELB to call AWS services on your behalf."},
	"spot.amazonaws.com":                 {role: "AWSServiceRoleForEC2Spot", policy: "AWSEC2SpotServiceRolePolicy", description: "Default EC2 Spot Service Linked Role"},
	"ec2fleet.amazonaws.com":             {role: "AWSServiceRoleForEC2Fleet", policy: "AWSEC2FleetServiceRolePolicy", description: "Default EC2 Fleet Service Linked Role"},
}

func linkedPath(service string) string { return "/aws-service-role/" + service + "/" }

// newLinkedRole makes a service-linked role.
func (s *Service) newLinkedRole(sc awsid.Scope, service, suffix string) (*role, bool) {
	l, ok := linkedServices[service]
	if !ok || suffix != "" && !l.suffix {
		return nil, false
	}
	name := l.role
	if suffix != "" {
		name += "_" + suffix
	}
	path := linkedPath(service)
	return &role{
		entity: entity{
			Name: name, Path: path, ID: uniqueID("AROA"), ARN: sc.ARN("iam", "role"+path+name), Created: s.now(),
		},
		grants:        grants{Attached: []string{sc.AWSPolicy("aws-service-role/" + l.policy)}},
		Description:   l.description,
		Trust:         `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`,
		MaxSession:    defaultSession,
		ServiceLinked: service,
	}, true
}

// CreateServiceLinkedRole implements the operation.
func (s *Service) CreateServiceLinkedRole(ctx context.Context, in *iam.CreateServiceLinkedRoleInput, _ ...func(*iam.Options)) (*iam.CreateServiceLinkedRoleOutput, error) {
	var c checks
	c.Required("aWSServiceName", in.AWSServiceName, 1, 128)
	c.Length("customSuffix", in.CustomSuffix, 1, 64)
	c.description(in.Description)
	if err := c.err(); err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	r, ok := s.newLinkedRole(sc, *in.AWSServiceName, aws.ToString(in.CustomSuffix))
	if !ok {
		if _, known := linkedServices[*in.AWSServiceName]; known {
			return nil, invalidInput("Custom suffix is not allowed for " + *in.AWSServiceName)
		}
		return nil, invalidInput("Service role is not supported for " + *in.AWSServiceName + ".")
	}
	if in.Description != nil {
		r.Description = *in.Description
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if roles.Get(tx, sc, key(r.Name)) != nil {
			return invalidInput("Service role name " + r.Name + " has been taken in this account, please try a different suffix.")
		}
		roles.Put(tx, sc, key(r.Name), r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := r.full()
	out.RoleLastUsed, out.MaxSessionDuration = nil, nil
	return &iam.CreateServiceLinkedRoleOutput{Role: out}, nil
}

// EnsureServiceLinkedRole makes an account's role for a service unless it is
// there, as services do by themselves when they are first used.
func (s *Service) EnsureServiceLinkedRole(ctx context.Context, sc awsid.Scope, service string) error {
	sc = sc.Global()
	r, ok := s.newLinkedRole(sc, service, "")
	if !ok {
		return invalidInput("Service role is not supported for " + service + ".")
	}
	if roles.Get(s.store, sc, key(r.Name)) != nil {
		return nil
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if roles.Get(tx, sc, key(r.Name)) == nil {
			roles.Put(tx, sc, key(r.Name), r)
		}
		return nil
	})
}

// DeleteServiceLinkedRole implements the operation. AWS does it in the
// background; here the task is done when the answer goes out.
func (s *Service) DeleteServiceLinkedRole(ctx context.Context, in *iam.DeleteServiceLinkedRoleInput, _ ...func(*iam.Options)) (*iam.DeleteServiceLinkedRoleOutput, error) {
	sc := scopeOf(ctx)
	var task *deletionTask
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		r, err := getRole(ctx, tx, in.RoleName)
		if err != nil {
			return err
		}
		if r.ServiceLinked == "" {
			return invalidInput("Role " + r.Name + " is not a service-linked role.")
		}
		task = &deletionTask{
			ID:     "task" + linkedPath(r.ServiceLinked) + r.Name + "/" + awsid.NewUUID(),
			Status: string(types.DeletionTaskStatusTypeSucceeded),
		}
		roles.Delete(tx, sc, key(r.Name))
		deletions.Put(tx, sc, task.ID, task)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeleteServiceLinkedRoleOutput{DeletionTaskId: &task.ID}, nil
}

// GetServiceLinkedRoleDeletionStatus implements the operation.
func (s *Service) GetServiceLinkedRoleDeletionStatus(ctx context.Context, in *iam.GetServiceLinkedRoleDeletionStatusInput, _ ...func(*iam.Options)) (*iam.GetServiceLinkedRoleDeletionStatusOutput, error) {
	var c checks
	c.Required("deletionTaskId", in.DeletionTaskId, 1, 1000)
	if err := c.err(); err != nil {
		return nil, err
	}
	t := deletions.Get(s.store, scopeOf(ctx), *in.DeletionTaskId)
	if t == nil {
		return nil, noSuchEntity("The deletion task with id " + *in.DeletionTaskId + " cannot be found.")
	}
	out := &iam.GetServiceLinkedRoleDeletionStatusOutput{Status: types.DeletionTaskStatusType(t.Status)}
	if t.Reason != "" {
		out.Reason = &types.DeletionTaskFailureReasonType{Reason: &t.Reason}
	}
	return out, nil
}

func lastSegment(s string) string { return s[strings.LastIndex(s, "/")+1:] }
