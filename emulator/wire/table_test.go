package wire_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ekslocal/ekslocal/emulator/wire"
)

// Table features that none of the present services uses, on hand-made tables
// for the SDK types of others.

func TestFlatXML(t *testing.T) {
	s := bind(t, wire.MustParse(`id x
protocol query
op GetContextKeysForPrincipalPolicy in=In out=Out wrap=R
in In struct PolicySourceArn PolicyInputList=Policy:List!flat
in List list member
out Out struct ContextKeyNames=Name:List!flat
out List list member
`), iamServer{})
	o := s.Operation("GetContextKeysForPrincipalPolicy")
	in, err := s.Decode(o, &wire.Request{Form: url.Values{"Policy.1": {"a"}, "Policy.2": {"b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, in.(*iam.GetContextKeysForPrincipalPolicyInput).PolicyInputList); diff != "" {
		t.Error(diff)
	}
	_, body := s.Encode(o, &iam.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: []string{"a", "b"}}, http.Header{}, "id")
	want := `<GetContextKeysForPrincipalPolicyResponse xmlns=""><R><Name>a</Name><Name>b</Name></R><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></GetContextKeysForPrincipalPolicyResponse>`
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Error(diff)
	}
}

func TestRESTBindings(t *testing.T) {
	s := bind(t, wire.MustParse(`id x
protocol rest-json
op TagResource http=POST:201:/t/{a} in=In out=Empty
op ListClusters http=GET:202:/c in=ListIn out=ListOut
in In struct ResourceArn=x-arn!header Tags=x-tag-:Tags!headers
io Tags map key value
out Empty struct
in ListIn struct Include=i:List!header maxResults!query nextToken!payload
io List list member
out ListOut struct Clusters=x-clusters:List!header nextToken!payload
`), eksServer{})
	r := httptest.NewRequest(http.MethodPost, "/t/b", nil)
	r.Header.Set("X-Arn", "arn")
	r.Header.Set("X-Tag-Env", "dev")
	in, err := s.Decode(s.Operation("TagResource"), &wire.Request{HTTP: r})
	if err != nil {
		t.Fatal(err)
	}
	want := &eks.TagResourceInput{ResourceArn: aws.String("arn"), Tags: map[string]string{"Env": "dev"}}
	if diff := cmp.Diff(want, in, cmpopts.IgnoreUnexported(eks.TagResourceInput{})); diff != "" {
		t.Error(diff)
	}
	r = httptest.NewRequest(http.MethodGet, "/c?maxResults=3", nil)
	r.Header["I"] = []string{"a", "b"}
	in, err = s.Decode(s.Operation("ListClusters"), &wire.Request{HTTP: r, Body: []byte("raw")})
	if err != nil {
		t.Fatal(err)
	}
	wantList := &eks.ListClustersInput{Include: []string{"a", "b"}, MaxResults: aws.Int32(3), NextToken: aws.String("raw")}
	if diff := cmp.Diff(wantList, in, cmpopts.IgnoreUnexported(eks.ListClustersInput{})); diff != "" {
		t.Error(diff)
	}
	h := http.Header{}
	status, body := s.Encode(s.Operation("ListClusters"), &eks.ListClustersOutput{Clusters: []string{"a", "b"}, NextToken: aws.String("raw")}, h, "id")
	if status != 202 || h.Get("X-Clusters") != "a, b" || string(body) != "raw" || h.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %v %s", status, h, body)
	}
	if status, body = s.Encode(s.Operation("TagResource"), nil, h, "id"); status != 201 || string(body) != "{}" {
		t.Errorf("%d %s", status, body)
	}
}

// A JSON service that once spoke the query protocol, as SQS did, also names
// the code of old.
func TestQueryCompatible(t *testing.T) {
	s := bind(t, wire.MustParse("id x\nprotocol json-1.0\nquerycompatible yes\nerror NotFoundException shape=E code=X.NonExistent\nout E struct message\n"), nil)
	h := http.Header{}
	_, body := s.EncodeError(nil, &ekstypes.NotFoundException{Message: aws.String("m")}, h, "id")
	if h.Get("X-Amzn-Query-Error") != "X.NonExistent;Sender" || string(body) != `{"__type":"NotFoundException","message":"m"}` || h.Get("Content-Type") != "application/x-amz-json-1.0" {
		t.Errorf("%v %s", h, body)
	}
}
