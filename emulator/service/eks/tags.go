package eks

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// The tagging operations have error types of their own.
func tagsBadRequest(format string, args ...any) error {
	return &ekstypes.BadRequestException{Message: aws.String(fmt.Sprintf(format, args...))}
}

func tagsNotFound(arn string) error {
	return &ekstypes.NotFoundException{Message: aws.String("Resource not found for arn: " + arn)}
}

// changeTags calls f with a copy of the tags of the resource and, unless tx is
// nil, writes them back. It reads through r, which is tx then.
func changeTags(r store.Reader, tx *store.Tx, scope awsid.Scope, arn string, f func(tags map[string]string)) error {
	p, err := awsid.ParseARN(arn)
	if err != nil || p.Service != "eks" {
		return tagsBadRequest("Invalid resource ARN: %s", arn)
	}
	if !p.In(scope) {
		return tagsNotFound(arn)
	}
	kind, rest, _ := strings.Cut(p.Resource, "/")
	cluster, child, _ := strings.Cut(rest, "/")
	name, _, _ := strings.Cut(child, "/")
	switch kind {
	case "cluster":
		if ConnectedClusters.Get(r, scope, rest) != nil {
			return tagged(ConnectedClusters, r, tx, scope, rest, arn, func(c *ConnectedCluster) (*string, *map[string]string) { return c.Resource.Arn, &c.Resource.Tags }, f)
		}
		return tagged(Clusters, r, tx, scope, rest, arn, func(c *Cluster) (*string, *map[string]string) { return c.Resource.Arn, &c.Resource.Tags }, f)
	case "nodegroup":
		return tagged(Nodegroups, r, tx, scope, ChildID(cluster, name), arn, func(n *Nodegroup) (*string, *map[string]string) { return n.Resource.NodegroupArn, &n.Resource.Tags }, f)
	case "addon":
		return tagged(Addons, r, tx, scope, ChildID(cluster, name), arn, func(d *Addon) (*string, *map[string]string) { return d.Resource.AddonArn, &d.Resource.Tags }, f)
	case "fargateprofile":
		return tagged(FargateProfiles, r, tx, scope, ChildID(cluster, name), arn, func(p *FargateProfile) (*string, *map[string]string) {
			return p.Resource.FargateProfileArn, &p.Resource.Tags
		}, f)
	case "identityproviderconfig": // <cluster>/oidc/<name>/<id>
		name, _, _ := strings.Cut(strings.TrimPrefix(child, "oidc/"), "/")
		return tagged(IdentityProviders, r, tx, scope, ChildID(cluster, name), arn, func(p *IdentityProvider) (*string, *map[string]string) {
			return p.Resource.IdentityProviderConfigArn, &p.Resource.Tags
		}, f)
	case "eks-anywhere-subscription":
		return tagged(Subscriptions, r, tx, scope, rest, arn, func(s *Subscription) (*string, *map[string]string) { return s.Resource.Arn, &s.Resource.Tags }, f)
	case "capability":
		// capability/<cluster>/<type>/<name>/<id>
		_, rest, _ := strings.Cut(child, "/")
		capability, _, _ := strings.Cut(rest, "/")
		return tagged(Capabilities, r, tx, scope, ChildID(cluster, capability), arn, func(c *Capability) (*string, *map[string]string) { return c.Resource.Arn, &c.Resource.Tags }, f)
	case "podidentityassociation":
		return tagged(PodIdentityAssociations, r, tx, scope, ChildID(cluster, name), arn, func(a *PodIdentityAssociation) (*string, *map[string]string) {
			return a.Resource.AssociationArn, &a.Resource.Tags
		}, f)
	case "access-entry":
		// The ARN does not hold the principal's path: look for it.
		for _, e := range AccessEntries.ListPrefix(r, scope, ClusterPrefix(cluster)) {
			if *e.Resource.AccessEntryArn == arn {
				return tagged(AccessEntries, r, tx, scope, ChildID(cluster, *e.Resource.PrincipalArn), arn, func(e *AccessEntry) (*string, *map[string]string) {
					return e.Resource.AccessEntryArn, &e.Resource.Tags
				}, f)
			}
		}
		return tagsNotFound(arn)
	}
	return tagsBadRequest("Unsupported resource type: %s", kind)
}

// tagged applies f to the tags of one record. of returns the record's ARN, which
// must be the one asked for, and its tags.
func tagged[T any](t store.Table[T], r store.Reader, tx *store.Tx, scope awsid.Scope, id, arn string,
	of func(*T) (*string, *map[string]string), f func(map[string]string),
) error {
	rec := t.Get(r, scope, id)
	if rec == nil {
		return tagsNotFound(arn)
	}
	if tx != nil {
		rec = t.Edit(tx, scope, id)
	}
	own, tags := of(rec)
	if aws.ToString(own) != arn {
		return tagsNotFound(arn)
	}
	changed := nonNil(*tags)
	f(changed)
	if tx == nil {
		return nil
	}
	if len(changed) > maxTags {
		return tagsBadRequest("Number of tags %d exceeds the limit of %d.", len(changed), maxTags)
	}
	*tags = changed
	t.Put(tx, scope, id, rec)
	return nil
}

// TagResource implements eks:TagResource.
func (s *Service) TagResource(ctx context.Context, in *eks.TagResourceInput, _ ...func(*eks.Options)) (*eks.TagResourceOutput, error) {
	if len(in.Tags) == 0 {
		return nil, tagsBadRequest("Tags must be specified.")
	}
	for k, v := range in.Tags {
		if bad := tagProblem(k, v); bad != "" {
			return nil, tagsBadRequest("%s", bad)
		}
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		return changeTags(tx, tx, awsid.CallerFrom(ctx).Scope, aws.ToString(in.ResourceArn), func(tags map[string]string) { maps.Copy(tags, in.Tags) })
	})
	if err != nil {
		return nil, err
	}
	return &eks.TagResourceOutput{}, nil
}

// UntagResource implements eks:UntagResource. Keys that are not there are fine.
func (s *Service) UntagResource(ctx context.Context, in *eks.UntagResourceInput, _ ...func(*eks.Options)) (*eks.UntagResourceOutput, error) {
	if len(in.TagKeys) == 0 {
		return nil, tagsBadRequest("Tag keys must be specified.")
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		return changeTags(tx, tx, awsid.CallerFrom(ctx).Scope, aws.ToString(in.ResourceArn), func(tags map[string]string) {
			for _, k := range in.TagKeys {
				delete(tags, k)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return &eks.UntagResourceOutput{}, nil
}

// ListTagsForResource implements eks:ListTagsForResource.
func (s *Service) ListTagsForResource(ctx context.Context, in *eks.ListTagsForResourceInput, _ ...func(*eks.Options)) (*eks.ListTagsForResourceOutput, error) {
	out := &eks.ListTagsForResourceOutput{Tags: map[string]string{}}
	err := changeTags(s.store, nil, awsid.CallerFrom(ctx).Scope, aws.ToString(in.ResourceArn), func(tags map[string]string) { out.Tags = tags })
	if err != nil {
		return nil, err
	}
	return out, nil
}
