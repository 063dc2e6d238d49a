package sts

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// ServiceRequest is an AWS service's request for credentials of a role that trusts it:
// what EC2 puts into instance metadata and EKS into pods.
type ServiceRequest struct {
	Service     string // ec2.amazonaws.com
	RoleARN     string
	SessionName string
	// Life is not limited by the role's maximum: the services' sessions are six hours.
	Life time.Duration
	// Tags of the session, all of which are transitive.
	Tags map[string]string
	// Policy narrows the session down; empty does not.
	Policy string
	// SourceARN is the resource on whose behalf the service acts.
	SourceARN string
	// Operation and By are what is shown of the session.
	Operation, By string
}

// ServiceSession hands out credentials of a role to an AWS service.
func (s *Service) ServiceSession(ctx context.Context, in ServiceRequest) (*types.Credentials, *types.AssumedRoleUser, error) {
	v, err := s.serviceSession(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	creds, err := s.issue(ctx, v, in.Life)
	if err != nil {
		return nil, nil, err
	}
	return creds, v.user(), nil
}

// serviceSession makes the session of a role that trusts the service.
func (s *Service) serviceSession(ctx context.Context, in ServiceRequest) (*session, error) {
	role, ok := s.role(ctx, in.RoleARN)
	if !ok {
		return nil, notAuthorized(in.Service, "sts:AssumeRole", in.RoleARN)
	}
	r := policy.Request{
		Principal: policy.Principal{Service: in.Service}, Resource: role.ARN,
		Context: map[string][]string{"aws:sourceaccount": {role.Account}, "aws:principalisawsservice": {"true"}},
	}
	policy.Call{Time: s.clock.Now()}.AddTo(r.Context)
	set(r.Context, "aws:sourcearn", in.SourceARN)
	v, err := s.newSession(role, assumption{sessionName: &in.SessionName}, in.Operation, in.By)
	if err != nil {
		return nil, err
	}
	v.Policy, v.Tags, v.Transitive = in.Policy, in.Tags, slices.Sorted(maps.Keys(in.Tags))
	if err := s.trusts(ctx, awsid.Caller{}, role, v.ask(r, in.SessionName, in.Tags, nil), v.actions("sts:AssumeRole", in.Tags)...); err != nil {
		return nil, err
	}
	return v, nil
}

// ChainedSession hands out credentials of a target role, which the role of a service's
// request assumes: both that role's own policies and the target's trust policy have to
// allow it, for the tags too ("Use a target IAM role", EKS user guide). The request's
// policy narrows the target's session down.
func (s *Service) ChainedSession(ctx context.Context, in ServiceRequest, targetARN, externalID string) (*types.Credentials, *types.AssumedRoleUser, error) {
	first := in
	first.Policy = ""
	parent, err := s.serviceSession(ctx, first)
	if err != nil {
		return nil, nil, err
	}
	target, ok := s.role(ctx, targetARN)
	if !ok || !inPartition(targetARN, parent.scope().Partition()) {
		return nil, nil, notAuthorized(parent.ARN, "sts:AssumeRole", targetARN)
	}
	v, err := s.newSession(target, assumption{sessionName: &in.SessionName}, in.Operation, in.By)
	if err != nil {
		return nil, nil, err
	}
	v.Policy, v.Tags, v.Transitive = in.Policy, parent.Tags, parent.Transitive
	if err := s.mayChain(ctx, parent, target, v, in.SessionName, externalID); err != nil {
		return nil, nil, err
	}
	creds, err := s.issue(ctx, v, min(in.Life, chainedLimit))
	if err != nil {
		return nil, nil, err
	}
	return creds, v.user(), nil
}

func (s *Service) mayChain(ctx context.Context, parent *session, target policy.Role, v *session, name, externalID string) error {
	caller := awsid.Caller{Scope: parent.scope(), ARN: parent.ARN, UserID: parent.UserID}
	who, ok := s.Subject(ctx, caller)
	if !ok {
		return notAuthorized(parent.ARN, "sts:AssumeRole", target.ARN)
	}
	// The session is not stored: its tags are the caller's own.
	maps.Copy(who.Tags, parent.Tags)
	r := policy.Request{Principal: who.Principal, Resource: target.ARN, Context: who.Keys()}
	policy.Call{Time: s.clock.Now(), Region: awsid.CallerFrom(ctx).Region}.AddTo(r.Context)
	r.Context["aws:resourceaccount"] = []string{target.Account}
	policy.AddResourceTags(r.Context, target.Tags)
	set(r.Context, "sts:externalid", externalID)
	r = v.ask(r, name, v.Tags, parent)
	return s.trusts(ctx, caller, target, r, v.actions("sts:AssumeRole", v.Tags)...)
}
