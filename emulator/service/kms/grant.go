package kms

import (
	"context"
	"encoding/base64"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// maxGrants is KMS's quota of grants a key.
const maxGrants = 50000

var (
	grantNamePattern = regexp.MustCompile(`^[a-zA-Z0-9:/_-]+$`)
	grantIDPattern   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	servicePattern   = regexp.MustCompile(`^[a-z0-9.-]+\.amazonaws\.com$`)
)

// grantsFor are the operations that a grant on a key of that usage can allow,
// besides those that suit every key.
var grantsFor = map[types.KeyUsageType][]types.GrantOperation{
	types.KeyUsageTypeEncryptDecrypt: {
		types.GrantOperationDecrypt, types.GrantOperationEncrypt, types.GrantOperationGenerateDataKey, types.GrantOperationGenerateDataKeyWithoutPlaintext,
		types.GrantOperationReEncryptFrom, types.GrantOperationReEncryptTo, types.GrantOperationGenerateDataKeyPair, types.GrantOperationGenerateDataKeyPairWithoutPlaintext,
	},
	types.KeyUsageTypeSignVerify:        {types.GrantOperationSign, types.GrantOperationVerify},
	types.KeyUsageTypeGenerateVerifyMac: {types.GrantOperationGenerateMac, types.GrantOperationVerifyMac},
	types.KeyUsageTypeKeyAgreement:      {types.GrantOperationDeriveSharedSecret},
}

func (k *key) takesGrant(o types.GrantOperation) bool {
	switch o {
	case types.GrantOperationCreateGrant, types.GrantOperationRetireGrant, types.GrantOperationDescribeKey:
		return true
	case types.GrantOperationGetPublicKey:
		return kinds[k.Spec].asymmetric
	case types.GrantOperationGenerateDataKey, types.GrantOperationGenerateDataKeyWithoutPlaintext,
		types.GrantOperationGenerateDataKeyPair, types.GrantOperationGenerateDataKeyPairWithoutPlaintext:
		return k.symmetric()
	}
	return slices.Contains(grantsFor[k.Usage], o)
}

// CreateGrant implements the operation. With a Name, the same request answers the
// same grant.
func (s *Service) CreateGrant(ctx context.Context, in *kms.CreateGrantInput, _ ...func(*kms.Options)) (*kms.CreateGrantOutput, error) {
	g, err := s.newGrant(ctx, in)
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		k, err := s.find(ctx, tx, "CreateGrant", *in.KeyId)
		if err != nil {
			return err
		}
		for _, o := range g.Operations {
			if !k.takesGrant(o) {
				return validation("Operation %s is not supported by the KMS key %s.", o, k.arn())
			}
		}
		if g.Constraints != nil && !k.symmetric() {
			return validation("Grant constraints are not supported for the KMS key %s.", k.arn())
		}
		if err := dryRun(in.DryRun); err != nil {
			return err
		}
		have := grants.ListPrefix(tx, k.Scope, grantKey(k.ID, ""))
		for _, old := range have {
			if g.Name != "" && old.same(g) {
				g = old
				return nil
			}
		}
		if len(have) >= maxGrants {
			return limitExceeded("Grant limit exceeded for key %s", k.arn())
		}
		g.KeyID = k.ID
		// The token finds the grant again: RetireGrant may be called with nothing else.
		g.Token = base64.StdEncoding.EncodeToString([]byte(k.Scope.Account + "/" + k.Scope.Region + "/" + grantKey(k.ID, g.ID) + "/" + awsid.Hex(32)))
		grants.Put(tx, k.Scope, grantKey(k.ID, g.ID), g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &kms.CreateGrantOutput{GrantId: &g.ID, GrantToken: &g.Token}, nil
}

func (s *Service) newGrant(ctx context.Context, in *kms.CreateGrantInput) (*grant, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Length("granteePrincipal", in.GranteePrincipal, 1, 256)
	c.Length("granteeServicePrincipal", in.GranteeServicePrincipal, 1, 256)
	c.Length("retiringPrincipal", in.RetiringPrincipal, 1, 256)
	c.Length("name", in.Name, 1, 256)
	c.Null("operations", in.Operations == nil)
	if in.GranteePrincipal == nil && in.GranteeServicePrincipal == nil {
		c.Null("granteePrincipal", true)
	}
	if in.Name != nil && !grantNamePattern.MatchString(*in.Name) {
		c.Add(quoted(*in.Name), "name", "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$")
	}
	for _, o := range in.Operations {
		oneOf(&c, "operations", o, o.Values())
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if len(in.Operations) == 0 {
		return nil, validation("Grant operations must not be empty.")
	}
	who := awsid.CallerFrom(ctx)
	g := &grant{
		ID: awsid.Hex(64), Name: aws.ToString(in.Name), Grantee: aws.ToString(in.GranteePrincipal), Retiring: aws.ToString(in.RetiringPrincipal),
		Operations: in.Operations, Constraints: in.Constraints, Created: s.now(), Issuer: who.RootARN(),
	}
	if g.Grantee == "" {
		g.Grantee = *in.GranteeServicePrincipal
	}
	if g.Retiring == "" {
		g.Retiring = aws.ToString(in.RetiringServicePrincipal)
	}
	for _, p := range []string{g.Grantee, g.Retiring} {
		if p != "" && !servicePattern.MatchString(p) && !s.validPrincipal(ctx, who.Scope, p) {
			return nil, &types.InvalidArnException{Message: aws.String("ARN does not refer to a valid principal: " + p)}
		}
	}
	return g, nil
}

// same tells whether both grants came from the same request.
func (g *grant) same(o *grant) bool {
	return g.Name == o.Name && g.Grantee == o.Grantee && g.Retiring == o.Retiring && slices.Equal(g.Operations, o.Operations) && reflect.DeepEqual(plain(g.Constraints), plain(o.Constraints))
}

// plain are constraints as they are after a turn through the store.
func plain(c *types.GrantConstraints) [3]any {
	if c == nil {
		return [3]any{}
	}
	return [3]any{maps.Clone(c.EncryptionContextEquals), maps.Clone(c.EncryptionContextSubset), aws.ToString(c.SourceArn)}
}

func (g *grant) entry(k *key) types.GrantListEntry {
	e := types.GrantListEntry{
		KeyId: aws.String(k.arn()), GrantId: &g.ID, Name: &g.Name, CreationDate: &g.Created, IssuingAccount: &g.Issuer, Operations: g.Operations, Constraints: g.Constraints,
	}
	if servicePattern.MatchString(g.Grantee) {
		e.GranteeServicePrincipal = &g.Grantee
	}
	e.GranteePrincipal = &g.Grantee
	if servicePattern.MatchString(g.Retiring) {
		e.RetiringServicePrincipal = &g.Retiring
	}
	e.RetiringPrincipal = optional(g.Retiring)
	return e
}

// ListGrants implements the operation.
func (s *Service) ListGrants(ctx context.Context, in *kms.ListGrantsInput, _ ...func(*kms.Options)) (*kms.ListGrantsOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Span("limit", in.Limit, 1, 100)
	c.Length("marker", in.Marker, 1, 1024)
	c.Length("grantId", in.GrantId, 1, 128)
	c.Length("granteePrincipal", in.GranteePrincipal, 1, 256)
	if err := c.err(); err != nil {
		return nil, err
	}
	k, err := s.find(ctx, s.store, "ListGrants", *in.KeyId)
	if err != nil {
		return nil, err
	}
	grantee := aws.ToString(in.GranteePrincipal)
	if grantee == "" {
		grantee = aws.ToString(in.GranteeServicePrincipal)
	}
	var all []*grant
	for _, g := range grants.ListPrefix(s.store, k.Scope, grantKey(k.ID, "")) {
		if (in.GrantId == nil || g.ID == *in.GrantId) && (grantee == "" || g.Grantee == grantee) {
			all = append(all, g)
		}
	}
	if in.GrantId != nil && len(all) == 0 && grantee == "" {
		return nil, noGrant(*in.GrantId)
	}
	all, next, more, err := page(all, func(g *grant) string { return g.ID }, in.Marker, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &kms.ListGrantsOutput{Grants: make([]types.GrantListEntry, len(all)), NextMarker: next, Truncated: more}
	for i, g := range all {
		out.Grants[i] = g.entry(k)
	}
	return out, nil
}

// noGrant is the error for an id that is none or is nobody's.
func noGrant(id string) error {
	if !grantIDPattern.MatchString(id) {
		return &types.InvalidGrantIdException{Message: aws.String("Invalid grant ID")}
	}
	return notFound("Grant ID %s not found", id)
}

// ListRetirableGrants implements the operation.
func (s *Service) ListRetirableGrants(ctx context.Context, in *kms.ListRetirableGrantsInput, _ ...func(*kms.Options)) (*kms.ListRetirableGrantsOutput, error) {
	var c checks
	c.Required("retiringPrincipal", in.RetiringPrincipal, 1, 256)
	c.Span("limit", in.Limit, 1, 100)
	c.Length("marker", in.Marker, 1, 1024)
	if err := c.err(); err != nil {
		return nil, err
	}
	if !principalPattern.MatchString(*in.RetiringPrincipal) {
		return nil, &types.InvalidArnException{Message: aws.String("ARN does not refer to a valid principal: " + *in.RetiringPrincipal)}
	}
	sc := awsid.CallerFrom(ctx).Scope
	var all []*grant
	for _, g := range grants.List(s.store, sc) {
		if g.Retiring == *in.RetiringPrincipal && s.live(s.store, sc, g.KeyID) != nil {
			all = append(all, g)
		}
	}
	all, next, more, err := page(all, func(g *grant) string { return g.ID }, in.Marker, in.Limit, 50)
	if err != nil {
		return nil, err
	}
	out := &kms.ListRetirableGrantsOutput{Grants: make([]types.GrantListEntry, len(all)), NextMarker: next, Truncated: more}
	for i, g := range all {
		out.Grants[i] = g.entry(s.live(s.store, sc, g.KeyID))
	}
	return out, nil
}

// RevokeGrant implements the operation.
func (s *Service) RevokeGrant(ctx context.Context, in *kms.RevokeGrantInput, _ ...func(*kms.Options)) (*kms.RevokeGrantOutput, error) {
	var c checks
	c.Required("keyId", in.KeyId, 1, 2048)
	c.Required("grantId", in.GrantId, 1, 128)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := s.endGrant(ctx, "RevokeGrant", *in.KeyId, *in.GrantId, in.DryRun); err != nil {
		return nil, err
	}
	return &kms.RevokeGrantOutput{}, nil
}

// RetireGrant implements the operation, by token or by key and grant id.
func (s *Service) RetireGrant(ctx context.Context, in *kms.RetireGrantInput, _ ...func(*kms.Options)) (*kms.RetireGrantOutput, error) {
	keyID, id := aws.ToString(in.KeyId), aws.ToString(in.GrantId)
	switch {
	case in.GrantToken != nil:
		raw, err := base64.StdEncoding.DecodeString(*in.GrantToken)
		p := strings.Split(string(raw), "/")
		if err != nil || len(p) != 5 {
			return nil, &types.InvalidGrantTokenException{Message: aws.String("Invalid grant token")}
		}
		g := grants.Get(s.store, awsid.Scope{Account: p[0], Region: p[1]}, grantKey(p[2], p[3]))
		if g == nil || g.Token != *in.GrantToken {
			return nil, noGrant(p[3])
		}
		keyID, id = awsid.Scope{Account: p[0], Region: p[1]}.ARN("kms", "key/"+g.KeyID), g.ID
	case keyID == "" || id == "":
		return nil, validation("Either grant token, or key ID and grant ID must be specified.")
	case !strings.HasPrefix(keyID, "arn:"):
		return nil, &types.InvalidArnException{Message: aws.String("Invalid arn " + keyID)}
	}
	if err := s.endGrant(ctx, "RetireGrant", keyID, id, in.DryRun); err != nil {
		return nil, err
	}
	return &kms.RetireGrantOutput{}, nil
}

func (s *Service) endGrant(ctx context.Context, operation, keyID, id string, dry *bool) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		k, err := s.find(ctx, tx, operation, keyID)
		if err != nil {
			return err
		}
		if grants.Get(tx, k.Scope, grantKey(k.ID, id)) == nil {
			return noGrant(id)
		}
		if err := dryRun(dry); err != nil {
			return err
		}
		grants.Delete(tx, k.Scope, grantKey(k.ID, id))
		return nil
	})
}
