package lifecycle

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// TestAddonStates walks every event in every state.
func TestAddonStates(t *testing.T) {
	const none = ekstypes.AddonStatus("")
	want := map[ekstypes.AddonStatus][3]ekstypes.AddonStatus{ // healthy, lacking, refused
		"CREATING":      {"ACTIVE", "DEGRADED", "CREATE_FAILED"},
		"UPDATING":      {"ACTIVE", "DEGRADED", "UPDATE_FAILED"},
		"ACTIVE":        {none, "DEGRADED", none},
		"DEGRADED":      {"ACTIVE", none, none},
		"DELETING":      {none, none, "DELETE_FAILED"},
		"CREATE_FAILED": {}, "UPDATE_FAILED": {}, "DELETE_FAILED": {},
	}
	scope := awsid.Scope{Account: awsid.DefaultAccount, Region: "us-east-1"}
	for _, from := range ekstypes.AddonStatus("").Values() {
		for _, e := range []addonEvent{addonHealthy, addonLacking, addonRefused} {
			to, known := want[from]
			if !known {
				t.Fatalf("state %s is not in the test", from)
			}
			st, err := store.Open(t.Context(), store.NewMemory(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			a := &ekssvc.Addon{Scope: scope, UpdateID: "u", Desired: ekssvc.AddonSpec{Version: "new"}, Resource: ekstypes.Addon{
				AddonName: aws.String("x"), ClusterName: aws.String("c"), Status: from, AddonVersion: aws.String("old"),
			}}
			var moved bool
			var issues []ekstypes.AddonIssue
			if e != addonHealthy {
				issues = []ekstypes.AddonIssue{{Code: "ConfigurationConflict", Message: aws.String("m")}}
			}
			err = st.Update(t.Context(), func(tx *store.Tx) error {
				ekssvc.Updates.Put(tx, scope, "c/u", &ekssvc.Update{Scope: scope, Cluster: "c", Addon: "x", Resource: ekstypes.Update{Id: aws.String("u"), Status: "InProgress"}})
				moved = settle(tx, a, e, issues...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			u := ekssvc.Updates.Get(st, scope, "c/u").Resource
			switch to := to[e]; {
			case to == none:
				if moved || a.Resource.Status != from || u.Status != "InProgress" || a.UpdateID != "u" {
					t.Errorf("%s, event %d: it moved to %s, update %s", from, e, a.Resource.Status, u.Status)
				}
			case !moved || a.Resource.Status != to || len(a.Resource.Health.Issues) != len(issues) || a.UpdateID != "":
				t.Errorf("%s, event %d: it is %s with %d issues, want %s with %d", from, e, a.Resource.Status, len(a.Resource.Health.Issues), to, len(issues))
			case e == addonRefused && (u.Status != "Failed" || u.Errors[0].ErrorCode != "ConfigurationConflict" || *a.Resource.AddonVersion != "old"):
				t.Errorf("%s, event %d: update %+v, version %s", from, e, u, *a.Resource.AddonVersion)
			case e != addonRefused && (u.Status != "Successful" || *a.Resource.AddonVersion != "new"):
				t.Errorf("%s, event %d: update %+v, version %s", from, e, u, *a.Resource.AddonVersion)
			}
		}
	}
}

func TestRefusalIssue(t *testing.T) {
	gk := schema.GroupKind{Group: "apps", Kind: "Deployment"}
	gr := schema.GroupResource{Group: "apps", Resource: "deployments"}
	immutable := apierrors.NewInvalid(gk, "x", field.ErrorList{field.Invalid(field.NewPath("spec", "selector"), 1, "field is immutable")})
	wrong := apierrors.NewInvalid(gk, "x", field.ErrorList{field.Invalid(field.NewPath("spec", "replicas"), -1, "must be positive")})
	webhook := apierrors.NewForbidden(gr, "x", errors.New(`admission webhook "v.example" denied the request: no`))
	webhook.ErrStatus.Message = `admission webhook "v.example" denied the request: no`
	for name, tc := range map[string]struct {
		err  error
		age  time.Duration
		want ekstypes.AddonIssueCode
	}{
		"nothing":         {nil, time.Hour, ""},
		"network":         {errors.New("connection refused"), time.Hour, ""},
		"server":          {apierrors.NewInternalError(errors.New("etcd")), time.Hour, ""},
		"timeout":         {apierrors.NewTimeoutError("slow", 1), time.Hour, ""},
		"kind, at first":  {&meta.NoKindMatchError{GroupKind: gk}, 0, ""},
		"kind":            {&meta.NoKindMatchError{GroupKind: gk}, refusalGrace, "K8sResourceNotFound"},
		"namespace":       {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "x"), refusalGrace, "K8sResourceNotFound"},
		"webhook":         {webhook, 0, "AdmissionRequestDenied"},
		"policy":          {apierrors.NewForbidden(gr, "x", errors.New("ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no")), 0, "AdmissionRequestDenied"},
		"quota":           {apierrors.NewForbidden(gr, "x", errors.New("exceeded quota: q")), 0, "AdmissionRequestDenied"},
		"rights":          {apierrors.NewForbidden(gr, "x", errors.New("no")), 0, "AccessDenied"},
		"immutable field": {immutable, 0, "UnsupportedAddonModification"},
		"wrong value":     {wrong, 0, "InternalFailure"},
	} {
		got := refusalIssue(tc.err, tc.age)
		switch {
		case tc.want == "" && got != nil:
			t.Errorf("%s: %+v", name, got)
		case tc.want != "" && (got == nil || got.Code != tc.want || aws.ToString(got.Message) == ""):
			t.Errorf("%s: %+v, want %s", name, got, tc.want)
		}
	}
}
