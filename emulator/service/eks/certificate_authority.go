package eks

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/pki"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// maxAuthorities is EKS's limit for a cluster ("at most two certificate authorities
// at a time").
const maxAuthorities = 2

// rollbackTime is how long after its retirement an authority can be activated again.
// EKS calls it "a limited period"; its length here is that of a version rollback.
const rollbackTime = 7 * 24 * time.Hour

// DescribeCertificateAuthority implements eks:DescribeCertificateAuthority.
func (s *Service) DescribeCertificateAuthority(ctx context.Context, in *eks.DescribeCertificateAuthorityInput, _ ...func(*eks.Options)) (*eks.DescribeCertificateAuthorityOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	c, err := readCluster(s.store, awsid.CallerFrom(ctx).Scope, a.cluster)
	if err != nil {
		return nil, err
	}
	list := c.authorities()
	i, err := a.authority(list, in.CertificateAuthorityId)
	if err != nil {
		return nil, err
	}
	ca, err := list[i].shown()
	if err != nil {
		return nil, fmt.Errorf("eks: a certificate authority of %s: %w", a.cluster, err)
	}
	ca.RollbackAvailable = aws.Bool(rollbackAvailable(list, i, s.clock.Now()))
	return &eks.DescribeCertificateAuthorityOutput{CertificateAuthority: ca}, nil
}

// ListCertificateAuthorities implements eks:ListCertificateAuthorities.
func (s *Service) ListCertificateAuthorities(ctx context.Context, in *eks.ListCertificateAuthoritiesInput, _ ...func(*eks.Options)) (*eks.ListCertificateAuthoritiesOutput, error) {
	c, err := readCluster(s.store, awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName))
	if err != nil {
		return nil, err
	}
	list := []ekstypes.CertificateAuthoritySummary{}
	for _, ca := range c.authorities() {
		list = append(list, ca.summary())
	}
	list, next, err := page("ListCertificateAuthorities", list, func(s ekstypes.CertificateAuthoritySummary) string { return *s.Id }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListCertificateAuthoritiesOutput{CertificateAuthorities: list, NextToken: next}, nil
}

// CreateCertificateAuthority implements eks:CreateCertificateAuthority: the successor
// is trusted when the update is done, and can be activated once its trust is
// distributed.
func (s *Service) CreateCertificateAuthority(ctx context.Context, in *eks.CreateCertificateAuthorityInput, _ ...func(*eks.Options)) (*eks.CreateCertificateAuthorityOutput, error) {
	bare := *in
	bare.ClientRequestToken = nil
	a := about{cluster: aws.ToString(in.ClusterName)}
	now := s.now()
	ca, err := pki.NewCA("kubernetes", *now)
	if err != nil {
		return nil, err
	}
	successor := Authority{
		ID: authorityID(ca.Cert), Cert: ca.Cert, Key: ca.Key, CreatedAt: now, CreatedBy: ekstypes.CertificateAuthorityCreatedByCustomer,
		Signing: ekstypes.CertificateAuthoritySigningStatusNotUsed, Distribution: ekstypes.CertificateAuthorityDistributionStatusInProgress,
	}
	summary, update, err := s.changeAuthority(ctx, a, in.ClientRequestToken, bare, successor.ID, ekstypes.CertificateAuthoritySigningStatusNotUsed, func(list []Authority) ([]Authority, error) {
		if len(list) >= maxAuthorities {
			return nil, a.limitExceeded("Cluster %s already has the maximum number of certificate authorities: %d", a.cluster, maxAuthorities)
		}
		return append(list, successor), nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.CreateCertificateAuthorityOutput{CertificateAuthority: summary, Update: update}, nil
}

// ActivateCertificateAuthority implements eks:ActivateCertificateAuthority. It is also
// the way back to the authority that was retired last.
func (s *Service) ActivateCertificateAuthority(ctx context.Context, in *eks.ActivateCertificateAuthorityInput, _ ...func(*eks.Options)) (*eks.ActivateCertificateAuthorityOutput, error) {
	bare := *in
	bare.ClientRequestToken = nil
	a, id := about{cluster: aws.ToString(in.ClusterName)}, aws.ToString(in.CertificateAuthorityId)
	summary, update, err := s.changeAuthority(ctx, a, in.ClientRequestToken, bare, id, ekstypes.CertificateAuthoritySigningStatusInUse, func(list []Authority) ([]Authority, error) {
		i, err := a.authority(list, &id)
		switch {
		case err != nil:
			return nil, err
		case list[i].Signing == ekstypes.CertificateAuthoritySigningStatusInUse:
			return nil, a.invalidRequest("Certificate authority %s is already the signing certificate authority of cluster %s", id, a.cluster)
		case list[i].Distribution != ekstypes.CertificateAuthorityDistributionStatusComplete:
			return nil, a.invalidRequest("Certificate authority %s cannot be activated because its distribution status is %s", id, list[i].Distribution)
		case list[i].ActivatedAt != nil && !rollbackAvailable(list, i, s.clock.Now()):
			return nil, a.invalidRequest("Certificate authority %s cannot be activated because rollback is no longer available", id)
		}
		list[i].Signing = ekstypes.CertificateAuthoritySigningStatusActivating
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.ActivateCertificateAuthorityOutput{CertificateAuthority: summary, Update: update}, nil
}

// DeleteCertificateAuthority implements eks:DeleteCertificateAuthority. A successor
// that EKS appended, which it protects, does not occur here.
func (s *Service) DeleteCertificateAuthority(ctx context.Context, in *eks.DeleteCertificateAuthorityInput, _ ...func(*eks.Options)) (*eks.DeleteCertificateAuthorityOutput, error) {
	bare := *in
	bare.ClientRequestToken = nil
	a, id := about{cluster: aws.ToString(in.ClusterName)}, aws.ToString(in.CertificateAuthorityId)
	summary, update, err := s.changeAuthority(ctx, a, in.ClientRequestToken, bare, id, "", func(list []Authority) ([]Authority, error) {
		i, err := a.authority(list, &id)
		if err != nil {
			return nil, err
		}
		if list[i].Signing == ekstypes.CertificateAuthoritySigningStatusInUse {
			return nil, a.invalidRequest("Certificate authority %s cannot be deleted because it is the signing certificate authority of cluster %s", id, a.cluster)
		}
		list[i].Distribution = ekstypes.CertificateAuthorityDistributionStatusDeleting
		return list, nil
	})
	if err != nil {
		return nil, err
	}
	return &eks.DeleteCertificateAuthorityOutput{CertificateAuthority: summary, Update: update}, nil
}

// changeAuthority starts the update that changes the list of authorities, and answers
// with it and with the authority that it is about. Which parameters EKS shows of such
// updates is not documented, beyond their types.
func (s *Service) changeAuthority(
	ctx context.Context, a about, token *string, bare any, id string, to ekstypes.CertificateAuthoritySigningStatus, change func([]Authority) ([]Authority, error),
) (*ekstypes.CertificateAuthoritySummary, *ekstypes.Update, error) {
	req, err := newRequest(token, bare)
	if err != nil {
		return nil, nil, err
	}
	params := []ekstypes.UpdateParam{param(ekstypes.UpdateParamTypeCertificateAuthorityId, id)}
	if to != "" {
		params = append(params, param(ekstypes.UpdateParamTypeSigningStatus, string(to)))
	}
	var after *Cluster
	u, err := s.startClusterUpdate(ctx, a, req, clusterChange{
		kind: ekstypes.UpdateTypeCertificateAuthorityUpdate, params: params,
		apply: func(_ *store.Tx, c *Cluster) error {
			list, err := change(c.authorities())
			if err == nil {
				c.setAuthorities(list)
				after = c
			}
			return err
		},
	})
	if err != nil {
		return nil, nil, err
	}
	id = *u.Resource.Params[0].Value // a repeated request is about the first one's
	if after == nil || authorityByID(after.authorities(), id) < 0 {
		if after, err = readCluster(s.store, awsid.CallerFrom(ctx).Scope, a.cluster); err != nil {
			return nil, nil, err
		}
	}
	summary := ekstypes.CertificateAuthoritySummary{Id: &id} // all that is known of one that is gone
	if list := after.authorities(); authorityByID(list, id) >= 0 {
		summary = list[authorityByID(list, id)].summary()
	}
	return &summary, &u.Resource, nil
}

// authority finds one by its id.
func (a about) authority(list []Authority, id *string) (int, error) {
	if i := authorityByID(list, aws.ToString(id)); i >= 0 {
		return i, nil
	}
	return 0, a.notFound("No certificate authority found for ID: %s", aws.ToString(id))
}

// rollbackAvailable tells whether the ith authority is the outgoing one of a rotation
// that can still be taken back.
func rollbackAvailable(list []Authority, i int, now time.Time) bool {
	in := signing(list, ekstypes.CertificateAuthoritySigningStatusInUse)
	return in >= 0 && in != i && list[i].ActivatedAt != nil && list[i].Signing == ekstypes.CertificateAuthoritySigningStatusNotUsed &&
		list[i].Distribution == ekstypes.CertificateAuthorityDistributionStatusComplete && now.Before(list[in].ActivatedAt.Add(rollbackTime))
}

func (ca *Authority) summary() ekstypes.CertificateAuthoritySummary {
	return ekstypes.CertificateAuthoritySummary{
		Id: aws.String(ca.ID), CreatedAt: ca.CreatedAt, CreatedBy: ca.CreatedBy, ActivatedAt: ca.ActivatedAt, ActivatedBy: ca.ActivatedBy,
		SigningStatus: ca.Signing, DistributionStatus: ca.Distribution,
	}
}

func (ca *Authority) shown() (*ekstypes.CertificateAuthority, error) {
	block, _ := pem.Decode(ca.Cert)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", ca.ID)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ca.ID, err)
	}
	return &ekstypes.CertificateAuthority{
		Id: aws.String(ca.ID), Data: aws.String(base64.StdEncoding.EncodeToString(ca.Cert)),
		CreatedAt: ca.CreatedAt, CreatedBy: ca.CreatedBy, ActivatedAt: ca.ActivatedAt, ActivatedBy: ca.ActivatedBy,
		SigningStatus: ca.Signing, DistributionStatus: ca.Distribution,
		Validity: &ekstypes.CertificateAuthorityValidity{NotBefore: aws.Time(cert.NotBefore), NotAfter: aws.Time(cert.NotAfter)},
	}, nil
}

// shown is the cluster as DescribeCluster shows it: with the authority that signs.
func (c *Cluster) shown() *ekstypes.Cluster {
	r := c.Resource
	if r.CertificateAuthority != nil && r.CertificateAuthority.Data != nil {
		ca, list := *r.CertificateAuthority, c.authorities()
		if i := signing(list, ekstypes.CertificateAuthoritySigningStatusInUse); i >= 0 {
			ca.Active = &ekstypes.ActiveCertificateAuthority{Id: aws.String(list[i].ID), ActivatedBy: list[i].ActivatedBy}
		}
		r.CertificateAuthority = &ca
	}
	return &r
}
