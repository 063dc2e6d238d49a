package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// KMS is what the reconcilers ask of KMS: the grant for each cluster with an
// encryption key, and how the key is.
type KMS interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	CreateGrant(context.Context, *kms.CreateGrantInput, ...func(*kms.Options)) (*kms.CreateGrantOutput, error)
	ListGrants(context.Context, *kms.ListGrantsInput, ...func(*kms.Options)) (*kms.ListGrantsOutput, error)
	RetireGrant(context.Context, *kms.RetireGrantInput, ...func(*kms.Options)) (*kms.RetireGrantOutput, error)
}

// encryptionKey is the ARN of a cluster's key, empty if it has none.
func encryptionKey(c *ekssvc.Cluster) string {
	for _, e := range c.Resource.EncryptionConfig {
		if e.Provider != nil {
			return aws.ToString(e.Provider.KeyArn)
		}
	}
	return ""
}

func encryptionGrant(c *ekssvc.Cluster) *kms.CreateGrantInput {
	return ekssvc.EncryptionGrant(encryptionKey(c), *c.Resource.Name, aws.ToString(c.Resource.RoleArn), c.Scope)
}

// grantKey makes the grant by which a cluster uses its key, once: one that somebody
// revoked is not made again. It is the cluster's record that knows.
func (l *Lifecycle) grantKey(ctx context.Context, c *ekssvc.Cluster) error {
	if l.KMS == nil || encryptionKey(c) == "" || c.KeyGranted {
		return nil
	}
	_, err := l.KMS.CreateGrant(as(ctx, c.Scope), encryptionGrant(c))
	if err != nil && keyIssue(err) == "" {
		return fmt.Errorf("grant the KMS key: %w", err)
	}
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { c.KeyGranted = true; return true })
}

// findGrant returns the id of the cluster's grant, empty if there is none.
func (l *Lifecycle) findGrant(ctx context.Context, c *ekssvc.Cluster) (string, error) {
	want := encryptionGrant(c)
	for in := (&kms.ListGrantsInput{KeyId: want.KeyId, GranteePrincipal: want.GranteePrincipal}); ; {
		out, err := l.KMS.ListGrants(ctx, in)
		if err != nil {
			return "", err
		}
		for _, g := range out.Grants {
			if aws.ToString(g.Name) == *want.Name {
				return *g.GrantId, nil
			}
		}
		if in.Marker = out.NextMarker; in.Marker == nil {
			return "", nil
		}
	}
}

// retireGrant gives the key back with the cluster's end.
func (l *Lifecycle) retireGrant(ctx context.Context, c *ekssvc.Cluster) error {
	if l.KMS == nil || encryptionKey(c) == "" {
		return nil
	}
	ctx = as(ctx, c.Scope)
	id, err := l.findGrant(ctx, c)
	if err == nil && id != "" {
		_, err = l.KMS.RetireGrant(ctx, &kms.RetireGrantInput{KeyId: aws.String(encryptionKey(c)), GrantId: &id})
	}
	if err != nil && keyIssue(err) == "" {
		return fmt.Errorf("retire the grant of the KMS key: %w", err)
	}
	return nil // a key that is gone took its grants along
}

// keyIssue is the code of the health issue that an answer of KMS amounts to.
func keyIssue(err error) ekstypes.ClusterIssueCode {
	var gone *kmstypes.NotFoundException
	var disabled *kmstypes.DisabledException
	var leaving *kmstypes.KMSInvalidStateException
	switch {
	case errors.As(err, &gone):
		return ekstypes.ClusterIssueCodeKmsKeyNotFound
	case errors.As(err, &disabled):
		return ekstypes.ClusterIssueCodeKmsKeyDisabled
	case errors.As(err, &leaving):
		return ekstypes.ClusterIssueCodeKmsKeyMarkedForDeletion
	}
	return ""
}

// keyHealth finds out what is wrong with the cluster's key, empty if nothing is.
func (l *Lifecycle) keyHealth(ctx context.Context, c *ekssvc.Cluster) (ekstypes.ClusterIssueCode, string, error) {
	arn := encryptionKey(c)
	d, err := l.KMS.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &arn})
	if err != nil {
		if code := keyIssue(err); code != "" {
			return code, "The KMS key " + arn + " that encrypts the cluster's secrets does not exist.", nil
		}
		return "", "", err
	}
	switch d.KeyMetadata.KeyState {
	case kmstypes.KeyStateEnabled:
	case kmstypes.KeyStatePendingDeletion, kmstypes.KeyStatePendingReplicaDeletion:
		return ekstypes.ClusterIssueCodeKmsKeyMarkedForDeletion, "The KMS key " + arn + " that encrypts the cluster's secrets is marked for deletion.", nil
	default:
		return ekstypes.ClusterIssueCodeKmsKeyDisabled, "The KMS key " + arn + " that encrypts the cluster's secrets is disabled.", nil
	}
	if !c.KeyGranted {
		return "", "", nil
	}
	id, err := l.findGrant(ctx, c)
	if err == nil && id == "" {
		return ekstypes.ClusterIssueCodeKmsGrantRevoked, "The grant of the KMS key " + arn + " that encrypts the cluster's secrets was revoked.", nil
	}
	return "", "", err
}

// checkKey shows in the cluster's health how its key is. Secrets stay readable all
// the same: etcd is not encrypted here.
func (l *Lifecycle) checkKey(ctx context.Context, c *ekssvc.Cluster) error {
	if l.KMS == nil || encryptionKey(c) == "" {
		return nil
	}
	code, message, err := l.keyHealth(as(ctx, c.Scope), c)
	if err != nil {
		return fmt.Errorf("look at the KMS key: %w", err)
	}
	arn := encryptionKey(c)
	var now []ekstypes.ClusterIssue
	if code != "" {
		now = append(now, ekstypes.ClusterIssue{Code: code, Message: &message, ResourceIds: []string{arn}})
	}
	ofKey := func(code ekstypes.ClusterIssueCode) bool { return strings.HasPrefix(string(code), "Kms") }
	return l.editCluster(ctx, c, func(c *ekssvc.Cluster) bool { return setIssues(c, ofKey, now) })
}

// clustersOfKey maps a change of a KMS key, or of a grant of it, to the clusters that
// it encrypts.
func (l *Lifecycle) clustersOfKey(k key) []key {
	id, _, _ := strings.Cut(k.ID, "/")
	var out []key
	for _, c := range ekssvc.Clusters.ListAll(l.Store) {
		if c.Scope.Region == k.Scope.Region && strings.HasSuffix(encryptionKey(c), ":"+k.Scope.Account+":key/"+id) {
			out = append(out, key{c.Scope, *c.Resource.Name})
		}
	}
	return out
}
