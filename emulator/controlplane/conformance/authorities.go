package conformance

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// testAuthorities takes a control plane from one certificate authority to another:
// both trusted, the second signs, the first is gone.
func testAuthorities(t *testing.T, h Harness) {
	spec := NewSpec(t, "authorities", last(h))
	first := mustCreate(t, h.Backend, spec)
	if h.Serves {
		createNamespace(t, first, "marker")
	}
	out, in := spec.PKI, NewPKI(t)
	both := bytes.Join([][]byte{out.CACert, in.CACert}, nil)
	upgrade := func(pki controlplane.PKI) controlplane.Info {
		t.Helper()
		pki.SAKey = out.SAKey
		spec.PKI = pki
		info, err := h.Backend.Upgrade(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(info.Admin.CAData, pki.Bundle()) {
			t.Error("the administrator does not trust just the bundle")
		}
		again, err := h.Backend.Upgrade(t.Context(), spec)
		if err != nil || again.PID != info.PID {
			t.Errorf("the same Upgrade once more: %+v, %v; the first was %+v", again, err, info)
		}
		reaches(t, h, info.Admin, nil)
		return info
	}

	second := upgrade(controlplane.PKI{CACert: out.CACert, CAKey: out.CAKey, Trust: both})
	if second.PID == first.PID {
		t.Error("the upgrade did nothing")
	}
	reaches(t, h, first.Admin, nil)
	strange := rest.CopyConfig(first.Admin)
	strange.CAData = in.CACert
	reaches(t, h, strange, isUnknownAuthority)

	third := upgrade(controlplane.PKI{CACert: in.CACert, CAKey: in.CAKey, Trust: both})
	reaches(t, h, first.Admin, isUnknownAuthority)
	reaches(t, h, second.Admin, nil)
	if bytes.Equal(third.Admin.CertData, second.Admin.CertData) && h.Serves {
		t.Error("the administrator's certificate is still the outgoing authority's")
	}

	upgrade(in)
	reaches(t, h, second.Admin, apierrors.IsUnauthorized)
	reaches(t, h, third.Admin, nil)
}

// reaches asks over a connection of its own: client-go shares them.
func reaches(t *testing.T, h Harness, cfg *rest.Config, refusal func(error) bool) {
	t.Helper()
	if !h.Serves {
		return
	}
	own := rest.CopyConfig(cfg)
	own.Dial = (&net.Dialer{}).DialContext
	c, err := kubernetes.NewForConfig(own)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Namespaces().Get(t.Context(), "marker", metav1.GetOptions{})
	if refusal == nil && err != nil || refusal != nil && !refusal(err) {
		t.Errorf("the API server answers %v", err)
	}
}

func isUnknownAuthority(err error) bool { return errors.As(err, new(x509.UnknownAuthorityError)) }
