package eks

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// Authority is one of a cluster's certificate authorities. Handlers write what it
// should become (ACTIVATING, DELETING, or a new one IN_PROGRESS); the lifecycle gives
// the control plane the signer and the trust that follow from it, and settles it.
type Authority struct {
	ID string
	// Cert and Key are PEM.
	Cert, Key    []byte
	CreatedAt    *time.Time
	CreatedBy    ekstypes.CertificateAuthorityCreatedBy
	ActivatedAt  *time.Time `json:",omitempty"`
	ActivatedBy  ekstypes.CertificateAuthorityActivatedBy
	Signing      ekstypes.CertificateAuthoritySigningStatus
	Distribution ekstypes.CertificateAuthorityDistributionStatus
}

// authorities are the cluster's certificate authorities, none before it has keys.
func (c *Cluster) authorities() []Authority {
	if len(c.CACert) == 0 {
		return slices.Clone(c.Authorities)
	}
	return []Authority{{
		ID: authorityID(c.CACert), Cert: c.CACert, Key: c.CAKey,
		CreatedAt: c.Resource.CreatedAt, CreatedBy: ekstypes.CertificateAuthorityCreatedByEks,
		ActivatedAt: c.Resource.CreatedAt, ActivatedBy: ekstypes.CertificateAuthorityActivatedByEks,
		Signing: ekstypes.CertificateAuthoritySigningStatusInUse, Distribution: ekstypes.CertificateAuthorityDistributionStatusComplete,
	}}
}

// setAuthorities keeps the list; the authority that the cluster was made with is in
// it from now on.
func (c *Cluster) setAuthorities(list []Authority) {
	c.Authorities, c.CACert, c.CAKey = list, nil, nil
}

// authorityID follows from the certificate. It looks like EKS's: a name-based UUID.
func authorityID(cert []byte) string {
	b := sha256.Sum256(cert)
	b[6], b[8] = b[6]&0x0f|0x30, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func signing(list []Authority, s ekstypes.CertificateAuthoritySigningStatus) int {
	return slices.IndexFunc(list, func(a Authority) bool { return a.Signing == s })
}

func authorityByID(list []Authority, id string) int {
	return slices.IndexFunc(list, func(a Authority) bool { return a.ID == id })
}

// Signer is the authority that should sign the cluster's certificates: the one that
// is being activated, or else the one in use. It is empty before the cluster has keys.
func (c *Cluster) Signer() Authority {
	list := c.authorities()
	for _, s := range []ekstypes.CertificateAuthoritySigningStatus{ekstypes.CertificateAuthoritySigningStatusActivating, ekstypes.CertificateAuthoritySigningStatusInUse} {
		if i := signing(list, s); i >= 0 {
			return list[i]
		}
	}
	return Authority{}
}

// TrustBundle is the PEM of the authorities that the cluster should trust, its signer
// first: clients that know issuers by name only try no other ("the trust bundle lists
// the currently active CA first": aws/containers-roadmap issue 2638).
func (c *Cluster) TrustBundle() []byte {
	signer := c.Signer()
	bundle := bytes.Clone(signer.Cert)
	for _, a := range c.authorities() {
		if a.ID != signer.ID && a.Distribution != ekstypes.CertificateAuthorityDistributionStatusDeleting {
			bundle = append(bundle, a.Cert...)
		}
	}
	return bundle
}

// Distributing is the authority whose trust is being distributed, nil if none's is.
func (c *Cluster) Distributing() *Authority {
	for _, a := range c.authorities() {
		if a.Distribution == ekstypes.CertificateAuthorityDistributionStatusInProgress {
			return &a
		}
	}
	return nil
}

// Distributed ends the distribution of an authority's trust, and tells whether there
// was one.
func (c *Cluster) Distributed(id string) bool {
	list := c.authorities()
	i := authorityByID(list, id)
	if i < 0 || list[i].Distribution != ekstypes.CertificateAuthorityDistributionStatusInProgress {
		return false
	}
	list[i].Distribution = ekstypes.CertificateAuthorityDistributionStatusComplete
	c.setAuthorities(list)
	return true
}

// AuthoritiesApplied ends an update of the authorities, once the control plane signs
// with Signer and trusts TrustBundle.
func (c *Cluster) AuthoritiesApplied(now time.Time) {
	list := slices.DeleteFunc(c.authorities(), func(a Authority) bool {
		return a.Distribution == ekstypes.CertificateAuthorityDistributionStatusDeleting
	})
	if next := signing(list, ekstypes.CertificateAuthoritySigningStatusActivating); next >= 0 {
		if out := signing(list, ekstypes.CertificateAuthoritySigningStatusInUse); out >= 0 {
			list[out].Signing = ekstypes.CertificateAuthoritySigningStatusNotUsed
		}
		list[next].Signing = ekstypes.CertificateAuthoritySigningStatusInUse
		now = now.UTC().Truncate(time.Millisecond)
		list[next].ActivatedAt, list[next].ActivatedBy = &now, ekstypes.CertificateAuthorityActivatedByCustomer
	}
	c.setAuthorities(list)
	c.Resource.CertificateAuthority = &ekstypes.Certificate{Data: aws.String(base64.StdEncoding.EncodeToString(c.TrustBundle()))}
}

// authoritiesFollow checks each authority's steps. They end with their cluster in
// whatever state.
func (c *Cluster) authoritiesFollow(old *Cluster) error {
	if c == nil || old == nil {
		return nil
	}
	now := c.authorities()
	for _, was := range old.authorities() {
		var is Authority
		if i := authorityByID(now, was.ID); i >= 0 {
			is = now[i]
		}
		if err := AuthoritySigning.Check(was.Signing, is.Signing); err != nil {
			return err
		}
		if err := AuthorityDistribution.Check(was.Distribution, is.Distribution); err != nil {
			return err
		}
	}
	return nil
}
