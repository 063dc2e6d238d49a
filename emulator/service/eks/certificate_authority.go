package eks

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// Rotation (Create-, Activate- and DeleteCertificateAuthority) is not emulated: it
// would have to give running control planes another signer. A cluster has the one
// authority that it was made with.

// authority is the cluster's certificate authority, nil before it has one.
func (c *Cluster) authority() (*ekstypes.CertificateAuthority, error) {
	block, _ := pem.Decode(c.CACert)
	if block == nil {
		return nil, nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("eks: the certificate authority of %s: %w", *c.Resource.Name, err)
	}
	return &ekstypes.CertificateAuthority{
		Id: aws.String(c.authorityID()), Data: aws.String(base64.StdEncoding.EncodeToString(c.CACert)),
		CreatedAt: c.Resource.CreatedAt, CreatedBy: ekstypes.CertificateAuthorityCreatedByEks,
		ActivatedAt: c.Resource.CreatedAt, ActivatedBy: ekstypes.CertificateAuthorityActivatedByEks,
		SigningStatus: ekstypes.CertificateAuthoritySigningStatusInUse, DistributionStatus: ekstypes.CertificateAuthorityDistributionStatusComplete,
		RollbackAvailable: aws.Bool(false),
		Validity:          &ekstypes.CertificateAuthorityValidity{NotBefore: aws.Time(cert.NotBefore), NotAfter: aws.Time(cert.NotAfter)},
	}, nil
}

// authorityID follows from the certificate.
func (c *Cluster) authorityID() string {
	sum := sha256.Sum256(c.CACert)
	return "ca-" + hex.EncodeToString(sum[:8])
}

// shown is the cluster as DescribeCluster shows it: with the authority that signs.
func (c *Cluster) shown() *ekstypes.Cluster {
	r := c.Resource
	if r.CertificateAuthority != nil && r.CertificateAuthority.Data != nil {
		ca := *r.CertificateAuthority
		ca.Active = &ekstypes.ActiveCertificateAuthority{Id: aws.String(c.authorityID()), ActivatedBy: ekstypes.CertificateAuthorityActivatedByEks}
		r.CertificateAuthority = &ca
	}
	return &r
}

// DescribeCertificateAuthority implements eks:DescribeCertificateAuthority.
func (s *Service) DescribeCertificateAuthority(ctx context.Context, in *eks.DescribeCertificateAuthorityInput, _ ...func(*eks.Options)) (*eks.DescribeCertificateAuthorityOutput, error) {
	a := about{cluster: aws.ToString(in.ClusterName)}
	c, err := readCluster(s.store, awsid.CallerFrom(ctx).Scope, a.cluster)
	if err != nil {
		return nil, err
	}
	ca, err := c.authority()
	if err != nil {
		return nil, err
	}
	if id := aws.ToString(in.CertificateAuthorityId); ca == nil || *ca.Id != id {
		return nil, a.notFound("No certificate authority found for ID: %s", id)
	}
	return &eks.DescribeCertificateAuthorityOutput{CertificateAuthority: ca}, nil
}

// ListCertificateAuthorities implements eks:ListCertificateAuthorities.
func (s *Service) ListCertificateAuthorities(ctx context.Context, in *eks.ListCertificateAuthoritiesInput, _ ...func(*eks.Options)) (*eks.ListCertificateAuthoritiesOutput, error) {
	c, err := readCluster(s.store, awsid.CallerFrom(ctx).Scope, aws.ToString(in.ClusterName))
	if err != nil {
		return nil, err
	}
	ca, err := c.authority()
	if err != nil {
		return nil, err
	}
	list := []ekstypes.CertificateAuthoritySummary{}
	if ca != nil {
		list = append(list, ekstypes.CertificateAuthoritySummary{
			Id: ca.Id, CreatedAt: ca.CreatedAt, CreatedBy: ca.CreatedBy, ActivatedAt: ca.ActivatedAt, ActivatedBy: ca.ActivatedBy,
			SigningStatus: ca.SigningStatus, DistributionStatus: ca.DistributionStatus,
		})
	}
	list, next, err := page("ListCertificateAuthorities", list, func(s ekstypes.CertificateAuthoritySummary) string { return *s.Id }, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &eks.ListCertificateAuthoritiesOutput{CertificateAuthorities: list, NextToken: next}, nil
}
