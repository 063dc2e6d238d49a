package lifecycle

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/podidentity"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// TestAdmitPodIdentity: the webhook reads service accounts out of its cache, asks for
// what is not there yet, and knows associations at once.
func TestAdmitPodIdentity(t *testing.T) {
	st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := New(Config{Store: st, Clock: clock.RealClock{}, Log: slog.New(slog.DiscardHandler)})
	account := func(name string) *corev1.ServiceAccount {
		return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, Annotations: map[string]string{podidentity.AnnotationRole: "arn:aws:iam::111122223333:role/" + name},
		}}
	}
	client := fake.NewClientset(account("fresh"))
	rt := &runtime{client: client, name: "dev", scope: awsid.Scope{Account: "111122223333", Region: "eu-west-1"}, accounts: accountInformer(client)}
	if err := rt.accounts.GetStore().Add(account("cached")); err != nil {
		t.Fatal(err)
	}
	l.runtimes["ID"] = rt
	patch := func(name string) string {
		t.Helper()
		raw, err := json.Marshal(corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: name, Containers: []corev1.Container{{Name: "c"}}}})
		if err != nil {
			t.Fatal(err)
		}
		out, err := l.AdmitPodIdentity(t.Context(), "ID", &admissionv1.AdmissionRequest{Namespace: "shop", Object: k8sruntime.RawExtension{Raw: raw}})
		if err != nil || !out.Allowed {
			t.Fatalf("%+v, %v", out, err)
		}
		return string(out.Patch)
	}
	for _, name := range []string{"cached", "fresh"} {
		if p := patch(name); !strings.Contains(p, `"AWS_ROLE_ARN","value":"arn:aws:iam::111122223333:role/`+name) || !strings.Contains(p, `"AWS_REGION","value":"eu-west-1"`) {
			t.Errorf("%s: %s", name, p)
		}
	}
	if p := patch("gone"); p != "" {
		t.Errorf("a service account that is nowhere: %s", p)
	}
	err = st.Update(t.Context(), func(tx *store.Tx) error {
		a := &ekssvc.PodIdentityAssociation{Scope: rt.scope, Resource: ekstypes.PodIdentityAssociation{Namespace: aws.String("shop"), ServiceAccount: aws.String("gone"), AssociationId: aws.String("a-1")}}
		ekssvc.PodIdentityAssociations.Put(tx, rt.scope, ekssvc.ChildID("dev", "a-1"), a)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := patch("gone"); !strings.Contains(p, podidentity.EnvCredentialsURI) {
		t.Errorf("with an association: %s", p)
	}

	// A failure to ask is the webhook's: its failurePolicy decides, not a guess.
	boom := errors.New("boom")
	client.PrependReactor("get", "serviceaccounts", func(k8stesting.Action) (bool, k8sruntime.Object, error) { return true, nil, boom })
	if _, err := l.AdmitPodIdentity(t.Context(), "ID", &admissionv1.AdmissionRequest{Namespace: "shop", Object: k8sruntime.RawExtension{Raw: []byte(`{"spec":{"serviceAccountName":"unread"}}`)}}); !errors.Is(err, boom) {
		t.Errorf("an API server that does not answer: %v", err)
	}
}

// TestAwaitRuntime: controllers make pods before the daemon's side of their cluster is
// there, after a restart above all.
func TestAwaitRuntime(t *testing.T) {
	clk := clocktesting.NewFakeClock(time.Unix(0, 0))
	l := New(Config{Clock: clk, Log: slog.New(slog.DiscardHandler)})
	type answer struct {
		rt  *runtime
		err error
	}
	got := make(chan answer)
	go func() {
		rt, err := l.awaitRuntime(t.Context(), "ID")
		got <- answer{rt, err}
	}()
	for !clk.HasWaiters() { // it has looked once
		select {
		case a := <-got:
			t.Fatalf("it did not wait: %+v", a)
		default:
		}
	}
	want := &runtime{}
	l.mu.Lock()
	l.runtimes["ID"] = want
	l.mu.Unlock()
	clk.Step(time.Second)
	if a := <-got; a.rt != want || a.err != nil {
		t.Errorf("got %+v", a)
	}
}
