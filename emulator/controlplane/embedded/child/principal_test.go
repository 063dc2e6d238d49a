package child

import (
	"net/http"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// TestPoliciesCount: for the request's own principal and for whom a review is about,
// not for whom somebody claims to be.
func TestPoliciesCount(t *testing.T) {
	claimed := &user.DefaultInfo{Name: "dev", Extra: map[string][]string{"canonicalArn": {"arn:aws:iam::000000000000:role/dev"}}}
	ann, ok, err := principals(authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: claimed}, true, nil
	})).AuthenticateRequest(&http.Request{})
	if !ok || err != nil || ann.User.GetName() != "dev" || len(ann.User.GetExtra()) != 1 {
		t.Fatalf("%+v, %v, %v", ann, ok, err)
	}
	const reviews = "authorization.k8s.io"
	for _, tc := range []struct {
		name            string
		user            user.Info
		group, resource string // of the request
		asked           string // resource
		want            bool
	}{
		{"her own request", ann.User, "", "pods", "pods", true},
		{"her own question", ann.User, reviews, "selfsubjectaccessreviews", "pods", true},
		{"impersonated", claimed, "", "pods", "pods", false},
		{"can-i --as", claimed, reviews, "selfsubjectaccessreviews", "pods", false},
		{"asked about by an aggregated API", claimed, reviews, "subjectaccessreviews", "pods", true},
		{"asked about in a namespace", claimed, reviews, "localsubjectaccessreviews", "pods", true},
		{"impersonated, to ask about anybody", claimed, reviews, "subjectaccessreviews", "subjectaccessreviews", false},
		{"a resource of that name", claimed, "example.com", "subjectaccessreviews", "pods", false},
	} {
		ctx := apirequest.WithRequestInfo(t.Context(), &apirequest.RequestInfo{IsResourceRequest: true, APIGroup: tc.group, Resource: tc.resource})
		if got := policiesCount(ctx, authorizer.AttributesRecord{User: tc.user, Resource: tc.asked}); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	if policiesCount(t.Context(), authorizer.AttributesRecord{User: claimed}) {
		t.Error("without a request")
	}
}
