package kms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

const (
	// policyName is the only name that a key policy can have.
	policyName = "default"
	maxPolicy  = 32768
)

// defaultPolicy is that of a key made through the API without one.
func defaultPolicy(sc awsid.Scope) string {
	return fmt.Sprintf(`{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "%s"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`, sc.RootARN())
}

func malformed(text string) error { return &types.MalformedPolicyDocumentException{Message: &text} }

// checkPolicy refuses a policy that KMS would: one that is none, that names
// principals which do not exist, or with which the caller locks himself out.
func (s *Service) checkPolicy(ctx context.Context, k *key, doc string, bypass bool) error {
	if len(doc) > maxPolicy {
		return limitExceeded("Policy size limit exceeded: the policy has %d bytes and may have %d.", len(doc), maxPolicy)
	}
	d, err := policy.Parse(doc)
	switch {
	case errors.Is(err, policy.ErrJSON):
		return malformed("Policy contains invalid json")
	case err != nil:
		return malformed(err.Error())
	}
	for _, st := range d.Statements {
		if err := s.checkStatement(ctx, k.Scope, st); err != nil {
			return err
		}
	}
	who := awsid.CallerFrom(ctx)
	if bypass || who.Service != "" {
		return nil
	}
	if d.Evaluate(policy.Request{Principal: principalOf(who), Action: "kms:PutKeyPolicy", Resource: k.arn()}) != policy.Allowed {
		return malformed("The new key policy will not allow you to update the key policy in the future.")
	}
	return nil
}

func (s *Service) checkStatement(ctx context.Context, home awsid.Scope, st policy.Statement) error {
	p := st.Principal
	if p == nil {
		p = st.NotPrincipal
	}
	if p == nil {
		return malformed("Policy contains a statement with no principal.")
	}
	if len(st.Action)+len(st.NotAction) == 0 {
		return malformed("Policy contains a statement with no action.")
	}
	if len(st.Resource)+len(st.NotResource) == 0 {
		return malformed("Policy contains a statement with no resource.")
	}
	for _, arn := range p.AWS {
		if !s.validPrincipal(ctx, home, arn) {
			return malformed("Policy contains a statement with one or more invalid principals.")
		}
	}
	for _, n := range p.Service {
		if !strings.Contains(n, ".") {
			return malformed("Policy contains a statement with one or more invalid principals.")
		}
	}
	return nil
}

var (
	principalPattern = regexp.MustCompile(`^arn:aws[a-z-]*:(iam::[0-9]{12}:(root|(user|role)/[\w+=,.@/-]+)|sts::[0-9]{12}:(assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+))$`)
	accountPattern   = regexp.MustCompile(`^[0-9]{12}$`)
	uniqueIDPattern  = regexp.MustCompile(`^A[A-Z]{3}[A-Z0-9]{12,}$`)
)

// validPrincipal asks for principals of the key's own account only: what other
// accounts have is not always in the emulator. Service-linked roles count as there,
// for AWS makes them long before anybody writes a key policy with them.
func (s *Service) validPrincipal(ctx context.Context, home awsid.Scope, v string) bool {
	if v == "*" || accountPattern.MatchString(v) || uniqueIDPattern.MatchString(v) {
		return true
	}
	if !principalPattern.MatchString(v) {
		return false
	}
	a, err := awsid.ParseARN(v)
	if err != nil || a.Partition != home.Partition() {
		return false
	}
	own := a.Account == home.Account && a.Resource != "root" && !strings.HasPrefix(a.Resource, "role/aws-service-role/")
	return !own || s.principals == nil || s.principals.PrincipalExists(ctx, v)
}

// principalOf is the caller as policies see it.
func principalOf(who awsid.Caller) policy.Principal {
	return policy.Principal{ARN: who.ARN, RoleARN: who.RoleARN(), UserID: who.UserID, Account: who.Account}
}

// policyAccess is Access by the key's policy alone.
type policyAccess struct{}

// MayUse implements Access.
func (policyAccess) MayUse(_ context.Context, who awsid.Caller, action, keyARN, doc string) bool {
	d, err := policy.Parse(doc)
	return err == nil && d.Evaluate(policy.Request{
		Principal: principalOf(who), Action: action, Resource: keyARN,
		Context: map[string][]string{"kms:calleraccount": {who.Account}, "aws:principalaccount": {who.Account}, "aws:principalarn": {who.ARN}},
	}) == policy.Allowed
}

func checkPolicyName(n *string) error {
	if n != nil && *n != policyName {
		return notFound("No such policy exists")
	}
	return nil
}

// GetKeyPolicy implements the operation.
func (s *Service) GetKeyPolicy(ctx context.Context, in *kms.GetKeyPolicyInput, _ ...func(*kms.Options)) (*kms.GetKeyPolicyOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Length("policyName", in.PolicyName, 1, 128)
	if err := c.err(); err != nil {
		return nil, err
	}
	k, err := s.find(ctx, s.store, "GetKeyPolicy", *in.KeyId)
	if err == nil {
		err = checkPolicyName(in.PolicyName)
	}
	if err != nil {
		return nil, err
	}
	return &kms.GetKeyPolicyOutput{Policy: &k.Policy, PolicyName: aws.String(policyName)}, nil
}

// PutKeyPolicy implements the operation.
func (s *Service) PutKeyPolicy(ctx context.Context, in *kms.PutKeyPolicyInput, _ ...func(*kms.Options)) (*kms.PutKeyPolicyOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Length("policyName", in.PolicyName, 1, 128)
	c.Required("policy", in.Policy, 1, 131072)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.change(ctx, "PutKeyPolicy", *in.KeyId, func(_ *store.Tx, k *key) error {
		if err := checkPolicyName(in.PolicyName); err != nil {
			return err
		}
		if err := s.checkPolicy(ctx, k, *in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
			return err
		}
		k.Policy = *in.Policy
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.PutKeyPolicyOutput{}, nil
}

// ListKeyPolicies implements the operation.
func (s *Service) ListKeyPolicies(ctx context.Context, in *kms.ListKeyPoliciesInput, _ ...func(*kms.Options)) (*kms.ListKeyPoliciesOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Span("limit", in.Limit, 1, 1000)
	c.Length("marker", in.Marker, 1, 1024)
	if err := c.err(); err != nil {
		return nil, err
	}
	if _, err := s.find(ctx, s.store, "ListKeyPolicies", *in.KeyId); err != nil {
		return nil, err
	}
	return &kms.ListKeyPoliciesOutput{PolicyNames: []string{policyName}}, nil
}
