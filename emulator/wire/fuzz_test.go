package wire_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	apiec2 "github.com/ekslocal/ekslocal/api/ec2"
	apieks "github.com/ekslocal/ekslocal/api/eks"
	apiiam "github.com/ekslocal/ekslocal/api/iam"
	apissm "github.com/ekslocal/ekslocal/api/ssm"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// mustNotPanic decodes and accepts an input or a *DecodeError, nothing else.
func mustNotPanic(t *testing.T, s *wire.Service, op string, r *wire.Request) {
	_, err := s.Decode(s.Operation(op), r)
	var bad *wire.DecodeError
	if err != nil && !errors.As(err, &bad) {
		t.Errorf("%s: %v is no *DecodeError", op, err)
	}
	s.EncodeError(s.Operation(op), err, http.Header{}, "id")
}

func FuzzJSONBody(f *testing.F) {
	eksS, ssmS := bind(f, apieks.Model(), eksServer{}), bind(f, apissm.Model(), ssmServer{})
	for _, seed := range []string{``, `{}`, `null`, `{"name":"dev","tags":{"a":"b"},"resourcesVpcConfig":{"subnetIds":["a"]}}`, `{"Aggregators":[{"Aggregators":[{"Expression":"x"}]}]}`,
		`{"logging":{"clusterLogging":[{"enabled":true,"types":["api",null]}]}}`, `{"name":"\ud800"}`, `{"a":1e999}`, "\xff", `{"MaxResults":1.0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		mustNotPanic(t, eksS, "CreateCluster", &wire.Request{Body: body})
		mustNotPanic(t, ssmS, "GetInventory", &wire.Request{Body: body})
	})
}

func FuzzForm(f *testing.F) {
	ec2S, iamS := bind(f, apiec2.Model(), ec2Server{}), bind(f, apiiam.Model(), iamServer{})
	for _, seed := range []string{"", "ImageId=ami-1&DryRun=true", "TagSpecification.1.Tag.1.Key=a&TagSpecification.01.Tag.-1.Key=b", "SecurityGroupId=&SecurityGroupId.9999999999999999999=x",
		"Tags.member.1.Key=a&Tags.1.Key=b&Tags.entry.1.key=c", "....=x&.=y", "UserData=%ff%00", "BlockDeviceMapping.1.Ebs.VolumeSize=1e3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		form, err := url.ParseQuery(query)
		if err != nil {
			t.Skip()
		}
		mustNotPanic(t, ec2S, "RunInstances", &wire.Request{Form: form})
		mustNotPanic(t, iamS, "CreateRole", &wire.Request{Form: form})
	})
}

func FuzzREST(f *testing.F) {
	s := bind(f, apieks.Model(), eksServer{})
	f.Add("GET", "/clusters", "maxResults=1&include=a&nextToken=%00", "")
	f.Add("DELETE", "/clusters/a/addons/b%2Fc", "preserve=1", "{}")
	f.Add("POST", "/tags/arn%3Aaws", "", `{"tags":{"a":"b"}}`)
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		o, labels := s.Route(method, path)
		if o == nil || !o.Implemented() {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		mustNotPanic(t, s, o.Name, &wire.Request{HTTP: r, Labels: labels, Body: []byte(body)})
	})
}

// FuzzParse seeds with the generated tables: whatever parses must not panic
// Bind either.
func FuzzParse(f *testing.F) {
	for _, id := range []string{"eks", "sts"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "api", id, "wire.txt"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("protocol query\nop GetCallerIdentity in=A out=A\nio A struct !x :y= =\n")
	f.Add("protocol rest-json\nop TagResource http=GET:1:/{a}/{ in=A out=B\nin A struct tags:M!headers resourceArn!status\nio M map a b:M\nio B struct\n")
	f.Fuzz(func(t *testing.T, table string) {
		m, err := wire.Parse(table)
		if err != nil {
			return
		}
		for _, impl := range []any{eksServer{}, stsServer{}} {
			if s, err := wire.Bind(m, impl); err == nil {
				for _, o := range s.Operations() {
					if o.Implemented() {
						mustNotPanic(t, s, o.Name, &wire.Request{Body: []byte(`{"tags":{"a":"b"}}`), HTTP: httptest.NewRequest(http.MethodGet, "/?a=b", nil)})
						s.Encode(o, describeCluster, http.Header{}, "id")
					}
				}
			}
		}
	})
}
