package eks

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/google/go-cmp/cmp"

	"github.com/ekslocal/ekslocal/emulator/fsm"
	"github.com/ekslocal/ekslocal/emulator/pki"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// certify gives a cluster a certificate authority, as the lifecycle does.
func (w *world) certify(cluster string) {
	w.t.Helper()
	ca := must(pki.NewCA("kubernetes", w.clock.Now()))
	w.edit(func(tx *store.Tx) {
		c := Clusters.Edit(tx, w.scope, cluster)
		c.CACert, c.CAKey = ca.Cert, ca.Key
		c.Resource.CertificateAuthority = &ekstypes.Certificate{Data: aws.String(base64.StdEncoding.EncodeToString(c.TrustBundle()))}
		Clusters.Put(tx, w.scope, cluster, c)
	})
}

// rotated ends an update of certificate authorities.
func (w *world) rotated(cluster string) {
	w.t.Helper()
	w.edit(func(tx *store.Tx) {
		c := Clusters.Edit(tx, w.scope, cluster)
		c.AuthoritiesApplied(w.clock.Now())
		FinishUpdate(tx, w.scope, cluster, c.UpdateID)
		c.Resource.Status, c.UpdateID = ekstypes.ClusterStatusActive, ""
		Clusters.Put(tx, w.scope, cluster, c)
	})
}

func (w *world) distributed(cluster string) {
	w.t.Helper()
	w.edit(func(tx *store.Tx) {
		c := Clusters.Edit(tx, w.scope, cluster)
		if a := c.Distributing(); a == nil || !c.Distributed(a.ID) || c.Distributed(a.ID) {
			w.t.Error("nothing was distributed, or twice")
		}
		Clusters.Put(tx, w.scope, cluster, c)
	})
}

// caState is what clients see of an authority.
type caState struct{ Signing, Distribution, Activated, Rollback string }

// look is what clients see of a cluster's authorities: the list, its agreement with
// the other descriptions, and which authorities the cluster's data holds in which order.
func (w *world) look(cluster string) (states map[string]caState, active string, trusted []string) {
	w.t.Helper()
	states = map[string]caState{}
	byCert := map[string]string{}
	for _, s := range must(w.ListCertificateAuthorities(w.ctx, &eks.ListCertificateAuthoritiesInput{ClusterName: &cluster})).CertificateAuthorities {
		d := must(w.DescribeCertificateAuthority(w.ctx, &eks.DescribeCertificateAuthorityInput{ClusterName: &cluster, CertificateAuthorityId: s.Id})).CertificateAuthority
		if *d.Id != *s.Id || d.SigningStatus != s.SigningStatus || d.DistributionStatus != s.DistributionStatus || !d.Validity.NotAfter.After(w.clock.Now()) {
			w.t.Errorf("described as %+v, listed as %+v", d, s)
		}
		byCert[*d.Data] = *s.Id
		rollback := ""
		if *d.RollbackAvailable {
			rollback = "rollback"
		}
		states[*s.Id] = caState{string(s.SigningStatus), string(s.DistributionStatus), string(s.ActivatedBy), rollback}
	}
	ca := must(w.DescribeCluster(w.ctx, &eks.DescribeClusterInput{Name: &cluster})).Cluster.CertificateAuthority
	for rest := must(base64.StdEncoding.DecodeString(*ca.Data)); len(rest) > 0; {
		var b *pem.Block
		b, rest = pem.Decode(rest)
		trusted = append(trusted, byCert[base64.StdEncoding.EncodeToString(pem.EncodeToMemory(b))])
	}
	return states, *ca.Active.Id, trusted
}

func (w *world) sees(step string, want map[string]caState, active string, trusted ...string) {
	w.t.Helper()
	states, a, t := w.look("dev")
	if d := cmp.Diff(want, states); d != "" || a != active {
		w.t.Errorf("%s: %s is active, want %s (-want +got):\n%s", step, a, active, d)
	}
	if d := cmp.Diff(trusted, t); d != "" {
		w.t.Errorf("%s: trusted (-want +got):\n%s", step, d)
	}
}

// TestRotation goes from one authority to the next, back, and forth again.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	w.create("dev")
	name := aws.String("dev")
	if l := must(w.ListCertificateAuthorities(w.ctx, &eks.ListCertificateAuthoritiesInput{ClusterName: name})).CertificateAuthorities; len(l) != 0 {
		t.Errorf("a cluster without keys has %+v", l)
	}
	w.certify("dev")
	w.settle("dev")
	_, first, _ := w.look("dev")
	inUse := caState{"IN_USE", "COMPLETE", "EKS", ""}
	w.sees("at first", map[string]caState{first: inUse}, first, first)

	create := &eks.CreateCertificateAuthorityInput{ClusterName: name, ClientRequestToken: aws.String("c")}
	made := must(w.CreateCertificateAuthority(w.ctx, create))
	second := *made.CertificateAuthority.Id
	if u := made.Update; u.Type != ekstypes.UpdateTypeCertificateAuthorityUpdate || u.Status != ekstypes.UpdateStatusInProgress || made.CertificateAuthority.CreatedBy != "CUSTOMER" || made.CertificateAuthority.ActivatedAt != nil {
		t.Errorf("%+v of %+v", u, made.CertificateAuthority)
	}
	if again := must(w.CreateCertificateAuthority(w.ctx, create)); *again.CertificateAuthority.Id != second || *again.Update.Id != *made.Update.Id {
		t.Errorf("the same request made %+v", again)
	}
	w.sees("called to append", map[string]caState{first: inUse, second: {"NOT_USED", "IN_PROGRESS", "", ""}}, first, first)
	w.rotated("dev")
	w.sees("appended", map[string]caState{first: inUse, second: {"NOT_USED", "IN_PROGRESS", "", ""}}, first, first, second)
	w.distributed("dev")
	w.sees("distributed", map[string]caState{first: inUse, second: {"NOT_USED", "COMPLETE", "", ""}}, first, first, second)

	activate := func(id string) {
		t.Helper()
		out := must(w.ActivateCertificateAuthority(w.ctx, &eks.ActivateCertificateAuthorityInput{ClusterName: name, CertificateAuthorityId: &id}))
		if *out.CertificateAuthority.Id != id || out.CertificateAuthority.SigningStatus != "ACTIVATING" {
			t.Errorf("activating %s: %+v", id, out.CertificateAuthority)
		}
		if s := Clusters.Get(w.store, w.scope, "dev").Signer(); s.ID != id {
			t.Errorf("%s should sign, and %s would", id, s.ID)
		}
	}
	activate(second)
	w.sees("called to activate", map[string]caState{first: inUse, second: {"ACTIVATING", "COMPLETE", "", ""}}, first, first, second)
	w.rotated("dev")
	w.sees("activated", map[string]caState{first: {"NOT_USED", "COMPLETE", "EKS", "rollback"}, second: {"IN_USE", "COMPLETE", "CUSTOMER", ""}}, second, second, first)

	activate(first)
	w.rotated("dev")
	w.sees("rolled back", map[string]caState{first: {"IN_USE", "COMPLETE", "CUSTOMER", ""}, second: {"NOT_USED", "COMPLETE", "CUSTOMER", "rollback"}}, first, first, second)
	activate(second)
	w.rotated("dev")

	w.clock.SetTime(w.clock.Now().Add(rollbackTime))
	w.sees("a week later", map[string]caState{first: {"NOT_USED", "COMPLETE", "CUSTOMER", ""}, second: {"IN_USE", "COMPLETE", "CUSTOMER", ""}}, second, second, first)
	_, err := w.ActivateCertificateAuthority(w.ctx, &eks.ActivateCertificateAuthorityInput{ClusterName: name, CertificateAuthorityId: &first})
	wantError(t, err, "InvalidRequestException", "rollback is no longer available")

	remove := &eks.DeleteCertificateAuthorityInput{ClusterName: name, CertificateAuthorityId: &first, ClientRequestToken: aws.String("d")}
	gone := must(w.DeleteCertificateAuthority(w.ctx, remove))
	w.sees("called to delete", map[string]caState{first: {"NOT_USED", "DELETING", "CUSTOMER", ""}, second: {"IN_USE", "COMPLETE", "CUSTOMER", ""}}, second, second, first)
	if b := Clusters.Get(w.store, w.scope, "dev").TrustBundle(); authorityID(b) != second {
		t.Error("the outgoing one should be trusted on")
	}
	w.rotated("dev")
	w.sees("deleted", map[string]caState{second: {"IN_USE", "COMPLETE", "CUSTOMER", ""}}, second, second)
	if again := must(w.DeleteCertificateAuthority(w.ctx, remove)); *again.CertificateAuthority.Id != first || *again.Update.Id != *gone.Update.Id {
		t.Errorf("the same request answers %+v", again)
	}
	if c := Clusters.Get(w.store, w.scope, "dev"); c.CACert != nil || c.CAKey != nil {
		t.Error("the deleted authority's key is kept")
	}
}

// TestSuccessorIsDropped: one that was never activated can be deleted, before its
// distribution is over too.
func TestSuccessorIsDropped(t *testing.T) {
	w := newWorld(t)
	w.create("dev")
	w.certify("dev")
	w.settle("dev")
	_, first, _ := w.look("dev")
	for _, distributed := range []bool{false, true} {
		id := must(w.CreateCertificateAuthority(w.ctx, &eks.CreateCertificateAuthorityInput{ClusterName: aws.String("dev")})).CertificateAuthority.Id
		w.rotated("dev")
		if distributed {
			w.distributed("dev")
		}
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
		must(w.DeleteCertificateAuthority(w.ctx, &eks.DeleteCertificateAuthorityInput{ClusterName: aws.String("dev"), CertificateAuthorityId: id}))
		w.rotated("dev")
		w.sees("dropped", map[string]caState{first: {"IN_USE", "COMPLETE", "EKS", ""}}, first, first)
	}
}

// TestIllegalAuthority: no transaction can delete the authority that signs.
func TestIllegalAuthority(t *testing.T) {
	w := newWorld(t)
	w.create("dev")
	w.certify("dev")
	err := w.store.Update(t.Context(), func(tx *store.Tx) error {
		c := Clusters.Edit(tx, w.scope, "dev")
		c.setAuthorities(nil)
		Clusters.Put(tx, w.scope, "dev", c)
		return nil
	})
	var illegal *fsm.Error
	if !errors.As(err, &illegal) || illegal.From != "IN_USE" {
		t.Errorf("dropping the signer: %v", err)
	}
}
