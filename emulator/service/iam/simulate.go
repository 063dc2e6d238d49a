package iam

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
)

// simulation is a request of the policy simulator, whichever operation brought it.
type simulation struct {
	policies  policy.Policies
	who       policy.Subject
	context   map[string][]string
	actions   []string
	resources []string
	owner     string // account of resources whose ARN does not tell
}

// options are the parameters that both operations have.
type options struct {
	actions, resources, boundaries []string
	context                        []types.ContextEntry
	caller, owner, resourcePolicy  *string
	handling                       *string
	marker                         *string
	maxItems                       *int32
}

// SimulateCustomPolicy implements the operation.
func (s *Service) SimulateCustomPolicy(ctx context.Context, in *iam.SimulateCustomPolicyInput, _ ...func(*iam.Options)) (*iam.SimulateCustomPolicyOutput, error) {
	o := options{
		in.ActionNames, in.ResourceArns, in.PermissionsBoundaryPolicyInputList, in.ContextEntries,
		in.CallerArn, in.ResourceOwner, in.ResourcePolicy, in.ResourceHandlingOption, in.Marker, in.MaxItems,
	}
	var c checks
	c.Null("policyInputList", in.PolicyInputList == nil)
	c.documents("policyInputList", in.PolicyInputList)
	if err := o.check(&c); err != nil {
		return nil, err
	}
	if len(in.OrderedOrganizationPolicyInputList) > 0 {
		return nil, invalidInput("ekslocal has no organizations: OrderedOrganizationPolicyInputList cannot be simulated.")
	}
	if in.ResourcePolicy != nil && in.CallerArn == nil {
		return nil, invalidInput("CallerArn must be specified if a ResourcePolicy is.")
	}
	sim, err := s.newSimulation(ctx, o, in.PolicyInputList, aws.ToString(in.CallerArn))
	if err != nil {
		return nil, err
	}
	results, more, next, err := sim.page(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.SimulateCustomPolicyOutput{EvaluationResults: results, IsTruncated: more, Marker: next}, nil
}

// SimulatePrincipalPolicy implements the operation.
func (s *Service) SimulatePrincipalPolicy(ctx context.Context, in *iam.SimulatePrincipalPolicyInput, _ ...func(*iam.Options)) (*iam.SimulatePrincipalPolicyOutput, error) {
	o := options{
		in.ActionNames, in.ResourceArns, in.PermissionsBoundaryPolicyInputList, in.ContextEntries,
		in.CallerArn, in.ResourceOwner, in.ResourcePolicy, in.ResourceHandlingOption, in.Marker, in.MaxItems,
	}
	var c checks
	c.arn("policySourceArn", in.PolicySourceArn)
	c.documents("policyInputList", in.PolicyInputList)
	if err := o.check(&c); err != nil {
		return nil, err
	}
	source, err := s.policySource(ctx, *in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	caller := source.ARN
	if in.CallerArn != nil {
		caller = *in.CallerArn
	}
	sim, err := s.newSimulation(ctx, o, in.PolicyInputList, caller)
	if err != nil {
		return nil, err
	}
	if sim.policies.Boundary == nil {
		sim.policies.Boundary = source.Boundary
	}
	sim.policies.Identity = append(sim.policies.Identity, source.Policies...)
	if err := exclude(&sim.policies, in.PolicyExclusionList); err != nil {
		return nil, err
	}
	results, more, next, err := sim.page(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	return &iam.SimulatePrincipalPolicyOutput{EvaluationResults: results, IsTruncated: more, Marker: next}, nil
}

// policySource finds a PolicySourceArn.
func (s *Service) policySource(ctx context.Context, arn string) (policy.Entity, error) {
	if err := checkARN(ctx, arn); err != nil {
		return policy.Entity{}, invalidInput("Invalid Entity Arn: " + arn + " does not clearly define entity type and name.")
	}
	kind, _ := kindOf(arn)
	if a, _ := awsid.ParseARN(arn); !slices.Contains([]string{"user", "group", "role"}, kind) || !a.SameAccount(scopeOf(ctx)) {
		return policy.Entity{}, invalidInput("Invalid Entity Arn: " + arn + " does not clearly define entity type and name.")
	}
	e, ok := s.Entity(ctx, scopeOf(ctx), arn)
	if !ok {
		return policy.Entity{}, notFound(kind, lastSegment(arn))
	}
	return e, nil
}

func (o options) check(c *checks) error {
	c.Null("actionNames", o.actions == nil)
	for i, a := range o.actions {
		c.Length(fmt.Sprintf("actionNames.%d.member", i+1), &a, 3, 128)
	}
	for i, r := range o.resources {
		c.Length(fmt.Sprintf("resourceArns.%d.member", i+1), &r, 1, 2048)
	}
	c.documents("permissionsBoundaryPolicyInputList", o.boundaries)
	c.Length("resourcePolicy", o.resourcePolicy, 1, 131072)
	c.Length("resourceOwner", o.owner, 1, 2048)
	c.Length("callerArn", o.caller, 1, 2048)
	c.Length("resourceHandlingOption", o.handling, 1, 64)
	for i, e := range o.context {
		at := fmt.Sprintf("contextEntries.%d.member.", i+1)
		c.Length(at+"contextKeyName", e.ContextKeyName, 5, 256)
		c.OneOf(at+"contextKeyType", string(e.ContextKeyType), contextKeyTypes...)
	}
	checkPage(c, o.marker, o.maxItems)
	return c.err()
}

var contextKeyTypes = []string{
	"string", "stringList", "numeric", "numericList", "boolean", "booleanList", "ip", "ipList", "binary", "binaryList", "date", "dateList",
}

func (c *checks) documents(member string, docs []string) {
	for i, d := range docs {
		c.Length(fmt.Sprintf("%s.%d.member", member, i+1), &d, 1, 131072)
	}
}

func (s *Service) newSimulation(ctx context.Context, o options, inputs []string, caller string) (*simulation, error) {
	sc := scopeOf(ctx)
	sim := &simulation{actions: o.actions, resources: o.resources, owner: sc.Account}
	who, err := s.simulatedCaller(ctx, caller)
	if err != nil {
		return nil, err
	}
	sim.who = who
	for _, r := range o.resources {
		if _, err := awsid.ParseARN(r); r != "*" && err != nil {
			return nil, invalidInput("ResourceNames are not in a valid ARN format: " + r + ".")
		}
	}
	if who.Account != "" {
		sim.owner = who.Account
	}
	if o.owner != nil {
		sim.owner = *o.owner
		if a, err := awsid.ParseARN(*o.owner); err == nil {
			sim.owner = a.Account
		}
	}
	if sim.policies.Identity, err = s.inputs(policy.Identity, sc, "PolicyInputList", inputs); err != nil {
		return nil, err
	}
	if len(o.boundaries) > 1 {
		return nil, invalidInput("Only one permissions boundary can be simulated at a time.")
	}
	if sim.policies.Boundary, err = s.inputs(policy.Identity, sc, "PermissionsBoundaryPolicyInputList", o.boundaries); err != nil {
		return nil, err
	}
	if o.resourcePolicy != nil {
		d, err := s.parsed.Parse(*o.resourcePolicy)
		if err != nil {
			return nil, invalidInput(err.Error())
		}
		sim.policies.Resource = []policy.Policy{{Name: "ResourcePolicy", Document: d}}
	}
	sim.context = who.Keys()
	policy.Call{Time: s.clock.Now(), Region: awsid.CallerFrom(ctx).Region}.AddTo(sim.context)
	for _, e := range o.context {
		sim.context[strings.ToLower(aws.ToString(e.ContextKeyName))] = e.ContextKeyValues
	}
	return sim, nil
}

// inputs parses the documents of a request. Their names are how results refer to them.
func (s *Service) inputs(kind policy.Kind, sc awsid.Scope, name string, docs []string) ([]policy.Policy, error) {
	var out []policy.Policy
	for i, doc := range docs {
		if _, err := policy.Validate(doc, kind, sc.Partition()); err != nil {
			return nil, invalidInput(err.Error())
		}
		d, err := s.parsed.Parse(doc)
		if err != nil {
			return nil, invalidInput(err.Error())
		}
		out = append(out, policy.Policy{Name: fmt.Sprintf("%s.%d", name, i+1), Document: d})
	}
	return out, nil
}

// simulatedCaller is who seems to ask. A role asks through a session.
func (s *Service) simulatedCaller(ctx context.Context, arn string) (policy.Subject, error) {
	if arn == "" {
		return policy.Subject{}, nil
	}
	kind, _ := kindOf(arn)
	a, err := awsid.ParseARN(arn)
	if err != nil || !slices.Contains([]string{"user", "group", "role"}, kind) {
		return policy.Subject{}, invalidInput("Invalid Entity Arn: " + arn + " does not clearly define entity type and name.")
	}
	out := policy.Subject{Principal: policy.Principal{ARN: arn, Account: a.Account}}
	e, ok := s.Entity(ctx, a.Scope(), arn) // it may be somebody of an account elsewhere
	if ok {
		out.UserID, out.Tags = e.ID, e.Tags
	}
	if kind == "role" {
		out.RoleARN = arn
		out.ARN = a.Scope().ARN("sts", "assumed-role/"+lastSegment(arn)+"/PolicySimulator")
		out.UserID += ":PolicySimulator"
	}
	return out, nil
}
