package iam

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/ekslocal/ekslocal/emulator/policy"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// holder is a kind of entity that policies are granted to, with AWS's quotas.
type holder struct {
	kind, member string
	inlineSize   int
	attached     string // IAM's name of the quota on attached policies
	quota        string // and ours
}

var (
	roleHolder  = holder{"role", "roleName", 10240, "PoliciesPerRole", "managed-policies-per-role"}
	userHolder  = holder{"user", "userName", 2048, "PoliciesPerUser", "managed-policies-per-user"}
	groupHolder = holder{"group", "groupName", 5120, "PoliciesPerGroup", "managed-policies-per-group"}
)

// empty tells whether the holder can be deleted.
func (g *grants) empty() error {
	switch {
	case len(g.Attached) > 0:
		return conflict("Cannot delete entity, must detach all policies first.")
	case len(g.Inline) > 0:
		return conflict("Cannot delete entity, must delete policies first.")
	}
	return nil
}

// putInline sets a policy of the named holder.
func (g *grants) putInline(ctx context.Context, h holder, holderName, name, doc string) error {
	doc, err := checkPolicy(ctx, doc, policy.Identity)
	if err != nil {
		return err
	}
	if g.Inline == nil {
		g.Inline = map[string]string{}
	}
	g.Inline[name] = doc
	total := 0
	for _, d := range g.Inline {
		total += size(d)
	}
	if total > h.inlineSize {
		return limitExceeded(fmt.Sprintf("Maximum policy size of %d bytes exceeded for %s %s", h.inlineSize, h.kind, holderName))
	}
	return nil
}

func (g *grants) inline(h holder, name *string) (string, error) {
	doc, ok := g.Inline[aws.ToString(name)]
	if !ok {
		return "", noSuchEntity("The " + h.kind + " policy with name " + aws.ToString(name) + " cannot be found.")
	}
	return doc, nil
}

func (g *grants) deleteInline(h holder, name *string) error {
	if _, err := g.inline(h, name); err != nil {
		return err
	}
	delete(g.Inline, *name)
	return nil
}

func (g *grants) inlinePage(marker *string, maxItems *int32) ([]string, bool, *string, error) {
	var c checks
	checkPage(&c, marker, maxItems)
	if err := c.err(); err != nil {
		return nil, false, nil, err
	}
	names := make([]string, 0, len(g.Inline))
	for n := range g.Inline {
		names = append(names, n)
	}
	return page(names, func(n string) string { return n }, marker, maxItems)
}

// checkInline checks the request of Put*Policy.
func checkInline(h holder, holderName, policyName, doc *string) error {
	var c checks
	c.name(h.member, holderName)
	c.name("policyName", policyName)
	c.document("policyDocument", doc)
	if err := c.err(); err != nil {
		return err
	}
	return checkNames("policyName", *policyName)
}

func checkPolicyName(name *string) error { return named("policyName", name) }

// attach attaches a managed policy; attaching it again changes nothing.
func (s *Service) attach(ctx context.Context, tx *store.Tx, h holder, g *grants, arn string) error {
	if err := checkARN(ctx, arn); err != nil {
		return err
	}
	p, ok := s.findManaged(ctx, tx, arn)
	if !ok {
		return noSuchEntity("Policy " + arn + " does not exist or is not attachable.")
	}
	if p.serviceLinked() {
		return &types.PolicyNotAttachableException{Message: aws.String("Cannot attach a Service Role Policy to a Customer Role.")}
	}
	if slices.Contains(g.Attached, arn) {
		return nil
	}
	if err := checkQuota(s, len(g.Attached), h.quota, h.attached); err != nil {
		return err
	}
	g.Attached = append(g.Attached, arn)
	return nil
}

func (g *grants) detach(ctx context.Context, arn string) error {
	if err := checkARN(ctx, arn); err != nil {
		return err
	}
	i := slices.Index(g.Attached, arn)
	if i < 0 {
		return noSuchEntity("Policy " + arn + " was not found.")
	}
	g.Attached = slices.Delete(g.Attached, i, i+1)
	return nil
}

func checkPolicyARN(arn *string) error {
	var c checks
	c.arn("policyArn", arn)
	return c.err()
}

func (s *Service) attachedPage(ctx context.Context, g *grants, prefix, marker *string, maxItems *int32) ([]types.AttachedPolicy, bool, *string, error) {
	var c checks
	checkPage(&c, marker, maxItems)
	if err := c.err(); err != nil {
		return nil, false, nil, err
	}
	var out []types.AttachedPolicy
	for _, arn := range g.Attached {
		p, ok := s.findManaged(ctx, s.store, arn)
		if ok && (prefix == nil || len(p.Path) >= len(*prefix) && p.Path[:len(*prefix)] == *prefix) {
			out = append(out, types.AttachedPolicy{PolicyArn: aws.String(arn), PolicyName: aws.String(p.Name)})
		}
	}
	return page(out, func(p types.AttachedPolicy) string { return *p.PolicyName + " " + *p.PolicyArn }, marker, maxItems)
}

// checkBoundary checks that a permissions boundary, if there is one, exists.
func (s *Service) checkBoundary(ctx context.Context, r store.Reader, arn string) error {
	if arn == "" {
		return nil
	}
	if err := checkARN(ctx, arn); err != nil {
		return err
	}
	if _, ok := s.findManaged(ctx, r, arn); !ok {
		return noSuchEntity("Scope ARN: " + arn + " does not exist or is not attachable.")
	}
	return nil
}
