package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParse(t *testing.T) {
	got, err := Parse(`{
		"Version": "2012-10-17", "Id": "x",
		"Statement": {
			"Sid": "s", "Effect": "Allow", "Principal": {"AWS": "111122223333", "Service": ["eks.amazonaws.com"]},
			"Action": "sts:AssumeRole",
			"Condition": {"StringEquals": {"sts:ExternalId": ["a", "b"]}, "ForAnyValue:StringLikeIfExists": {"aws:TagKeys": "x*"}, "Bool": {"aws:SecureTransport": true}}
		}
	}`)
	if err != nil {
		t.Fatal(err)
	}
	want := &Document{Version: "2012-10-17", ID: "x", Statements: []Statement{{
		Sid: "s", Allow: true, Principal: &Principals{AWS: []string{"111122223333"}, Service: []string{"eks.amazonaws.com"}},
		Action: []string{"sts:AssumeRole"},
		Conditions: []Condition{
			{Operator: "Bool", Key: "aws:securetransport", Values: []string{"true"}},
			{Operator: "StringLike", Set: ForAnyValue, IfExists: true, Key: "aws:tagkeys", Values: []string{"x*"}},
			{Operator: "StringEquals", Key: "sts:externalid", Values: []string{"a", "b"}},
		},
	}}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Document{}, Condition{})); diff != "" {
		t.Error(diff)
	}
}

func TestValidateErrors(t *testing.T) {
	const ok = `"Effect":"Allow","Action":"s3:Get*","Resource":"*"`
	doc := func(statement string) string { return `{"Version":"2012-10-17","Statement":[{` + statement + `}]}` }
	tests := []struct {
		name, doc string
		kind      Kind
		want      string
	}{
		{"not JSON", `{`, Identity, "Syntax errors in policy."},
		{"empty", ``, Managed, "Syntax errors in policy."},
		{"session not JSON", `{`, Session, "This policy contains invalid Json"},
		{"trust not JSON", `{`, Trust, "This policy contains invalid Json"},
		{"managed of the old version", `{"Statement":[{` + ok + `}]}`, Managed, "Policy document must be version 2012-10-17 or greater."},
		{"embedded of the old version", `{"Statement":[{` + ok + `}]}`, Identity, ""},
		{"two colons", doc(`"Effect":"Allow","Action":"s3:Get:x","Resource":"*"`), Identity, "Actions/Condition can contain only one colon."},
		{"vendor", doc(`"Effect":"Allow","Action":"a b:Get","Resource":"*"`), Identity, "Vendor a b is not valid"},
		{"partition", doc(`"Effect":"Allow","Action":"s3:*","Resource":"arn:error:s3:::b"`), Identity, `Partition "error" is not valid for resource "arn:error:s3:::b".`},
		{"no partition", doc(`"Effect":"Allow","Action":"s3:*","Resource":"arn:s3:::b"`), Identity, `Partition "s3" is not valid for resource "arn:s3:::b:*".`},
		{"no vendor in ARN", doc(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws"`), Identity, "Resource vendor must be fully qualified and cannot contain regexes."},
		{"short ARN", doc(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3::b"`), Identity, "The policy failed legacy parsing"},
		{"region of IAM", doc(`"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam:eu-west-1::role/a"`), Identity, "IAM resource arn:aws:iam:eu-west-1::role/a cannot contain region information."},
		{"region of S3", doc(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:eu-west-1::b"`), Identity, "Resource arn:aws:s3:eu-west-1::b can not contain region information."},
		{"IAM path", doc(`"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam:::b"`), Identity, `IAM resource path must either be "*" or start with user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/.`},
		{"good IAM paths", doc(`"Effect":"Allow","Action":"iam:*","Resource":["arn:aws:iam::*:*","arn:aws:iam::111122223333:ro*","arn:aws:iam::111122223333:root","arn:aws:iam::*:role/x"]`), Identity, ""},
		{"trust version", `{"Version":"2020-01-01","Statement":[{}]}`, Trust, "The policy must contain a valid version string"},
		{"trust without statement", `{"Version":"2012-10-17","Statement":[]}`, Trust, "Could not parse the policy: Statement is empty!"},
		{"trust without effect", doc(`"Action":"sts:AssumeRole","Principal":{"AWS":"*"}`), Trust, "Missing required field Effect"},
		{"trust with an effect of its own", doc(`"Effect":"allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}`), Trust, "Invalid effect: allow"},
		{"trust of nobody", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{}`), Trust, "Missing required field Principal cannot be empty!"},
		{"trust all but", doc(`"Effect":"Allow","Action":"sts:AssumeRole","NotPrincipal":{"AWS":"*"}`), Trust, "Allow with NotPrincipal is not allowed."},
		{"trust deny all but", doc(`"Effect":"Deny","Action":"sts:AssumeRole","NotPrincipal":{"AWS":"*"}`), Trust, "AssumeRole policy must not contain NotPrincipal field."},
		{"trust everybody", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*"`), Trust, `AssumeRolepolicy contained an invalid principal: "STAR":"*".`},
		{"trust not resource", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"},"NotResource":"*"`), Trust, "AssumeRole policy must not contain resources."},
		{"trust with a star", doc(`"Effect":"Allow","Action":"*","Principal":{"AWS":"*"}`), Trust, "AssumeRole policy may only specify STS AssumeRole actions."},
		{"trust unknown element", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"},"Foo":1`), Trust, "Syntax error in policy."},
		{"trust same sid", `{"Statement":[{"Sid":"a b","Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}},{"Sid":"a b","Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}]}`, Trust, "The Statement Ids in the policy are not unique"},
		{"not an object", `[]`, Identity, "Syntax errors in policy."},
		{"no statement", `{"Version":"2012-10-17"}`, Identity, "Syntax errors in policy."},
		{"bad version", `{"Version":"2020-01-01","Statement":[{` + ok + `}]}`, Identity, "Syntax errors in policy."},
		{"wrong case", `{"version":"2012-10-17","Statement":[{` + ok + `}]}`, Identity, "Syntax errors in policy."},
		{"unknown element", doc(ok + `,"Foo":1`), Identity, "Syntax errors in policy."},
		{"duplicate element", doc(ok + `,"Effect":"Deny"`), Identity, "Syntax errors in policy."},
		{"unknown operator", doc(ok + `,"Condition":{"StringIs":{"a":"b"}}`), Identity, "Syntax errors in policy."},
		{"action twice", doc(ok + `,"NotAction":"*"`), Identity, "Syntax errors in policy."},
		{"principal", doc(ok + `,"Principal":"*"`), Identity, "Policy document should not specify a principal."},
		{"no action", doc(`"Effect":"Allow","Resource":"*"`), Identity, "Policy statement must contain actions."},
		{"no resource", doc(`"Effect":"Allow","Action":"*"`), Identity, "Policy statement must contain resources."},
		{"no vendor", doc(`"Effect":"Allow","Action":"GetObject","Resource":"*"`), Identity, "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
		{"no ARN", doc(`"Effect":"Allow","Action":"s3:*","Resource":"bucket"`), Identity, `Resource bucket must be in ARN format or "*".`},
		{"sid form", doc(ok + `,"Sid":"a b"`), Identity, "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"},
		{"same sid", `{"Statement":[{"Sid":"a",` + ok + `},{"Sid":"a",` + ok + `}]}`, Identity, "Statement IDs (SID) in a single policy must be unique."},
		{"trust with resource", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"},"Resource":"*"`), Trust, "Has prohibited field Resource"},
		{"trust without principal", doc(`"Effect":"Allow","Action":"sts:AssumeRole"`), Trust, "Missing required field Principal"},
		{"trust without action", doc(`"Effect":"Allow","Principal":{"AWS":"*"}`), Trust, "Missing required field Action"},
		{"trust for others", doc(`"Effect":"Allow","Action":"s3:Get*","Principal":{"AWS":"*"}`), Trust, "AssumeRole policy may only specify STS AssumeRole actions."},
		{"bad service", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"eks"}`), Trust, `Invalid principal in policy: "SERVICE":"eks"`},
		{"bad AWS principal", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"bob"}`), Trust, `Invalid principal in policy: "AWS":"bob"`},
		{"good", doc(ok), Identity, ""},
		{"good trust", doc(`"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111122223333:root"}`), Trust, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if _, err := Validate(tt.doc, tt.kind, "aws"); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Validate = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestEvaluate(t *testing.T) {
	alice := Principal{ARN: "arn:aws:iam::111122223333:user/alice", UserID: "AIDAEXAMPLEALICE12345", Account: "111122223333"}
	session := Principal{ARN: "arn:aws:sts::111122223333:assumed-role/ops/s1", RoleARN: "arn:aws:iam::111122223333:role/team/ops", UserID: "AROAEXAMPLEROLE123456:s1", Account: "111122223333"}
	tests := []struct {
		name, statements string
		who              Principal
		action, resource string
		ctx              map[string][]string
		want             Outcome
	}{
		{"wildcard action", `{"Effect":"Allow","Action":"S3:get*","Resource":"arn:aws:s3:::b/*"}`, alice, "s3:GetObject", "arn:aws:s3:::b/x/y", nil, Allowed},
		{"other action", `{"Effect":"Allow","Action":"s3:Get*","Resource":"*"}`, alice, "s3:PutObject", "arn:aws:s3:::b/x", nil, NoMatch},
		{"deny wins", `{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"iam:*","Resource":"*"}`, alice, "s3:GetObject", "x", nil, Denied},
		{"not action", `{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, alice, "iam:GetRole", "x", nil, NoMatch},
		{"not resource", `{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::b/*"}`, alice, "s3:GetObject", "arn:aws:s3:::b/x", nil, NoMatch},
		{"principal user", `{"Effect":"Allow","Action":"*","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"}}`, alice, "sts:AssumeRole", "r", nil, Allowed},
		{"principal other user", `{"Effect":"Allow","Action":"*","Principal":{"AWS":"arn:aws:iam::111122223333:user/bob"}}`, alice, "sts:AssumeRole", "r", nil, NoMatch},
		{"principal account", `{"Effect":"Allow","Action":"*","Principal":{"AWS":"arn:aws:iam::111122223333:root"}}`, alice, "sts:AssumeRole", "r", nil, Allowed},
		{"principal account id", `{"Effect":"Allow","Action":"*","Principal":{"AWS":"111122223333"}}`, session, "sts:AssumeRole", "r", nil, Allowed},
		{"principal role of session", `{"Effect":"Allow","Action":"*","Principal":{"AWS":"arn:aws:iam::111122223333:role/team/ops"}}`, session, "sts:AssumeRole", "r", nil, Allowed},
		{"principal session", `{"Effect":"Allow","Action":"*","Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/ops/s1"}}`, session, "sts:AssumeRole", "r", nil, Allowed},
		{"principal service", `{"Effect":"Allow","Action":"*","Principal":{"Service":"eks.amazonaws.com"}}`, Principal{Service: "eks.amazonaws.com"}, "sts:AssumeRole", "r", nil, Allowed},
		{"service is not AWS star", `{"Effect":"Allow","Action":"*","Principal":{"AWS":"*"}}`, Principal{Service: "eks.amazonaws.com"}, "sts:AssumeRole", "r", nil, NoMatch},
		{"not principal", `{"Effect":"Deny","Action":"*","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/bob"}}`, alice, "sts:AssumeRole", "r", nil, Denied},
		{"string equals", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"sts:ExternalId":"42"}}}`, alice, "a:b", "r", map[string][]string{"sts:externalid": {"42"}}, Allowed},
		{"absent key", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"sts:ExternalId":"42"}}}`, alice, "a:b", "r", nil, NoMatch},
		{"absent key, negated", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"k":"42"}}}`, alice, "a:b", "r", nil, Allowed},
		{"absent key, if exists", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{"k":"42"}}}`, alice, "a:b", "r", nil, Allowed},
		{"equals knows no wildcard", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"k":"4*"}}}`, alice, "a:b", "r", map[string][]string{"k": {"42"}}, NoMatch},
		{"like", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"127.0.0.1:4566/id/A:sub":"system:serviceaccount:*:app"}}}`, alice, "a:b", "r", map[string][]string{"127.0.0.1:4566/id/a:sub": {"system:serviceaccount:ns:app"}}, Allowed},
		{"bool", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}`, alice, "a:b", "r", map[string][]string{"aws:multifactorauthpresent": {"false"}}, NoMatch},
		{"null", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"k":"true"}}}`, alice, "a:b", "r", nil, Allowed},
		{"arn like stays in its part", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:eks:*:111122223333:cluster/*"}}}`, alice, "a:b", "r", map[string][]string{"aws:sourcearn": {"arn:aws:eks:us-east-1:x:111122223333:cluster/a"}}, NoMatch},
		{"arn like", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:eks:*:111122223333:cluster/*"}}}`, alice, "a:b", "r", map[string][]string{"aws:sourcearn": {"arn:aws:eks:us-east-1:111122223333:cluster/a"}}, Allowed},
		{"ip", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","127.0.0.1"]}}}`, alice, "a:b", "r", map[string][]string{"aws:sourceip": {"127.0.0.1"}}, Allowed},
		{"number", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericLessThan":{"k":10}}}`, alice, "a:b", "r", map[string][]string{"k": {"9.5"}}, Allowed},
		{"date", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateGreaterThan":{"k":"2026-01-01T00:00:00Z"}}}`, alice, "a:b", "r", map[string][]string{"k": {"2026-06-01T12:00:00Z"}}, Allowed},
		{"for all values", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}}`, alice, "a:b", "r", map[string][]string{"aws:tagkeys": {"a", "c"}}, NoMatch},
		{"for any value", `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["a","b"]}}}`, alice, "a:b", "r", map[string][]string{"aws:tagkeys": {"a", "c"}}, Allowed},
		{"variable", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/*"}`, alice, "a:b", "arn:aws:s3:::b/alice/x", map[string][]string{"aws:username": {"alice"}}, Allowed},
		{"star in a variable is no wildcard", `{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}"}`, alice, "a:b", "arn:aws:s3:::b/alice", map[string][]string{"aws:username": {"*"}}, NoMatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Parse(`{"Version":"2012-10-17","Statement":[` + tt.statements + `]}`)
			if err != nil {
				t.Fatal(err)
			}
			got := d.Evaluate(Request{Principal: tt.who, Action: tt.action, Resource: tt.resource, Context: tt.ctx})
			if got != tt.want {
				t.Errorf("Evaluate = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestLike(t *testing.T) {
	for _, tt := range []struct {
		p, s string
		want bool
	}{
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxbyy", false},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"*abc", "ababc", true}, {"**", "x", true},
	} {
		if got := Like(tt.p, tt.s); got != tt.want {
			t.Errorf("Like(%q, %q) = %v", tt.p, tt.s, got)
		}
	}
	// A pattern that makes backtracking matchers explode.
	if Like(strings.Repeat("*a", 50)+"b", strings.Repeat("a", 5000)) {
		t.Error("matched")
	}
}

func TestTrustsService(t *testing.T) {
	const doc = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["eks.amazonaws.com"]},"Action":["sts:AssumeRole","sts:TagSession"]}]}`
	if !TrustsService(doc, "eks.amazonaws.com") || TrustsService(doc, "ec2.amazonaws.com") || TrustsService("{", "eks.amazonaws.com") {
		t.Error("TrustsService is wrong")
	}
}

func TestPartitions(t *testing.T) {
	trust := func(principal string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":` + principal + `}]}`
	}
	allow := func(resource string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"` + resource + `"}]}`
	}
	for _, tt := range []struct {
		doc       string
		kind      Kind
		partition string
		want      string
	}{
		{allow("arn:aws-cn:s3:::b"), Identity, "aws-cn", ""},
		{allow("arn:*:s3:::b"), Identity, "aws-us-gov", ""},
		{allow("arn:aws:logs:*:*:*"), Identity, "aws-cn", `Partition "aws" is not valid for resource "arn:aws:logs:*:*:*".`},
		{allow("arn:aws-us-gov:s3:::b"), Identity, "aws", `Partition "aws-us-gov" is not valid for resource "arn:aws-us-gov:s3:::b".`},
		{trust(`{"AWS":"arn:aws-us-gov:iam::111122223333:root"}`), Trust, "aws-us-gov", ""},
		{trust(`{"AWS":"arn:aws:iam::111122223333:root"}`), Trust, "aws-cn", `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:root"`},
		{trust(`{"Service":["ec2.amazonaws.com","ec2.amazonaws.com.cn"]}`), Trust, "aws-cn", ""},
		{trust(`{"Service":"ec2.amazonaws.com.cn"}`), Trust, "aws", `Invalid principal in policy: "SERVICE":"ec2.amazonaws.com.cn"`},
	} {
		got := ""
		if _, err := Validate(tt.doc, tt.kind, tt.partition); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s in %s: %q, want %q", tt.doc, tt.partition, got, tt.want)
		}
	}
	doc := trust(`{"Service":"ec2.amazonaws.com.cn"}`)
	if !TrustsService(doc, "ec2.amazonaws.com") || TrustsService(doc, "eks.amazonaws.com") {
		t.Error("ec2.amazonaws.com.cn is not EC2")
	}
	d, err := Parse(trust(`{"AWS":"arn:aws:iam::111122223333:root"}`))
	if err != nil {
		t.Fatal(err)
	}
	other := Principal{ARN: "arn:aws-cn:iam::111122223333:root", UserID: "111122223333", Account: "111122223333"}
	if got := d.Evaluate(Request{Principal: other, Action: "sts:AssumeRole"}); got != NoMatch {
		t.Errorf("the account of the same number in China: %v", got)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		`{"Statement":{"Effect":"Deny","NotPrincipal":{"AWS":["111122223333"]},"NotAction":["a:b"],"NotResource":"arn:aws:s3:::x/${aws:username, 'd'}","Condition":{"ForAllValues:StringNotLikeIfExists":{"k":["a*",1,true]}}}}`,
		`{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:*","Condition":{"Null":{"k":"true"},"NumericLessThan":{"n":1e999},"DateLessThan":{"d":"2026"}}}]}`,
		`{`, `[]`, `null`, `{"Statement":[null]}`,
	} {
		f.Add(s, "sts:AssumeRole", "arn:aws:iam::111122223333:role/x", "k", "v")
	}
	f.Fuzz(func(t *testing.T, doc, action, resource, key, value string) {
		for _, k := range []Kind{Identity, Managed, Session, Trust} {
			d, err := Validate(doc, k, "aws")
			if err != nil {
				if err.Error() == "" {
					t.Error("an error without words")
				}
				continue
			}
			d.Evaluate(Request{Action: action, Resource: resource, Context: map[string][]string{strings.ToLower(key): {value}, "n": {value}, "d": {value}}})
		}
		Like(doc, resource)
	})
}
