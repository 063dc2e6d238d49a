package policy

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	docLogic     = "Policy evaluation logic"
	docCross     = "Cross-account policy evaluation logic"
	docBoundary  = "Permissions boundaries for IAM entities"
	docPrincipal = "AWS JSON policy elements: Principal"
	docNot       = "AWS JSON policy elements: NotPrincipal"
	docDenied    = "Troubleshooting access denied error messages"
)

const home, abroad = "111122223333", "444455556666"

var (
	user    = Principal{ARN: "arn:aws:iam::111122223333:user/exampleuser", UserID: "AIDAEXAMPLEUSER123456", Account: home}
	session = Principal{
		ARN: "arn:aws:sts::111122223333:assumed-role/examplerole/examplerolesessionname", RoleARN: "arn:aws:iam::111122223333:role/examplerole",
		UserID: "AROAEXAMPLEROLE123456:examplerolesessionname", Account: home,
	}
	root = Principal{ARN: "arn:aws:iam::111122223333:root", UserID: home, Account: home}
)

func named(t *testing.T, name string, statements ...string) []Policy {
	t.Helper()
	var out []Policy
	for _, s := range statements {
		d, err := Parse(`{"Version":"2012-10-17","Statement":[` + s + `]}`)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		out = append(out, Policy{Name: name, Document: d})
	}
	return out
}

const (
	allow     = `{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`
	deny      = `{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}`
	elsewhere = `{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}`
)

func grants(principal string) string {
	return `{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"s3:GetObject","Resource":"*"}`
}

func TestDecide(t *testing.T) {
	none := []Policy{}
	pol := func(statements ...string) []Policy { return named(t, "p", statements...) }
	tests := []struct {
		source, name string
		who          Principal
		policies     Policies
		want         Outcome
		reason       string
	}{
		{docLogic, "by default all requests are denied", user, Policies{}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},
		{docLogic, "the account root user has full access", root, Policies{}, Allowed, ""},
		{docLogic, "an explicit allow overrides the default", user, Policies{Identity: pol(allow)}, Allowed, ""},
		{docLogic, "an explicit deny overrides any allows", user, Policies{Identity: pol(allow, deny)}, Denied, "with an explicit deny in an identity-based policy"},
		{docLogic, "boundary, implicit deny", user, Policies{Identity: pol(allow), Boundary: pol(elsewhere)}, NoMatch, "because no permissions boundary allows the s3:GetObject action"},
		{docLogic, "boundary, explicit deny", user, Policies{Identity: pol(allow), Boundary: pol(allow, deny)}, Denied, "with an explicit deny in a permissions boundary"},
		{docBoundary, "a boundary grants nothing", user, Policies{Boundary: pol(allow)}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},
		{docLogic, "session policy, implicit deny", session, Policies{Identity: pol(allow), Session: pol(elsewhere)}, NoMatch, "because no session policy allows the s3:GetObject action"},
		{docLogic, "session policy allows", session, Policies{Identity: pol(allow), Session: pol(elsewhere, allow)}, Allowed, ""},
		{docLogic, "session policy grants nothing", session, Policies{Session: pol(allow)}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},
		{docLogic, "session policy, explicit deny", session, Policies{Identity: pol(allow), Session: pol(deny)}, Denied, "with an explicit deny in a session policy"},
		{docLogic, "all three must allow", session, Policies{Identity: pol(allow), Boundary: pol(allow), Session: pol(allow)}, Allowed, ""},

		{docLogic, "resource policy alone, user", user, Policies{Resource: pol(grants(user.ARN))}, Allowed, ""},
		{docLogic, "resource policy names the user: no boundary limits it", user, Policies{Boundary: none, Resource: pol(grants(user.ARN))}, Allowed, ""},
		{docLogic, "resource policy names the role: a boundary limits it", session, Policies{Boundary: none, Resource: pol(grants(session.RoleARN))}, NoMatch, "because no permissions boundary allows the s3:GetObject action"},
		{docLogic, "resource policy names the role: a session policy limits it", session, Policies{Session: none, Resource: pol(grants(session.RoleARN))}, NoMatch, "because no session policy allows the s3:GetObject action"},
		{docLogic, "resource policy names the role", session, Policies{Resource: pol(grants(session.RoleARN))}, Allowed, ""},
		{docLogic, "resource policy names the session: nothing limits it", session, Policies{Boundary: none, Session: none, Resource: pol(grants(session.ARN))}, Allowed, ""},
		{docLogic, "resource policy names the session, an explicit deny", session, Policies{Session: pol(deny), Resource: pol(grants(session.ARN))}, Denied, "with an explicit deny in a session policy"},
		{docPrincipal, "a star with aws:PrincipalArn is not limited", session, Policies{Boundary: none, Session: none, Resource: pol(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*","Condition":{"ArnEquals":{"aws:PrincipalArn":"` + session.RoleARN + `"}}}`)}, Allowed, ""},
		{docPrincipal, "the account delegates", user, Policies{Resource: pol(grants(home))}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},
		{docPrincipal, "the account's ARN is the same", user, Policies{Identity: pol(allow), Resource: pol(grants("arn:aws:iam::111122223333:root"))}, Allowed, ""},
		{docLogic, "resource policy, explicit deny", user, Policies{Identity: pol(allow), Resource: pol(`{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`)}, Denied, "with an explicit deny in a resource-based policy"},
		{docLogic, "resource policies bind root", root, Policies{Resource: pol(`{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`)}, Denied, "with an explicit deny in a resource-based policy"},
		{docLogic, "resource policy without principals grants nothing", user, Policies{Resource: pol(allow)}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},
		{docLogic, "KMS keys must allow explicitly", user, Policies{Identity: pol(allow), Resource: pol(elsewhere), ByResource: true}, NoMatch, "because no resource-based policy allows the s3:GetObject action"},
		{docLogic, "KMS keys delegate to the account", user, Policies{Identity: pol(allow), Resource: pol(grants(home)), ByResource: true}, Allowed, ""},
		{docLogic, "KMS keys delegate to the account, whose policies do not allow", user, Policies{Resource: pol(grants(home)), ByResource: true}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},

		{docCross, "both allow", user, Policies{Identity: pol(allow), Resource: pol(grants(user.ARN)), Owner: abroad}, Allowed, ""},
		{docCross, "the resource alone", user, Policies{Resource: pol(grants(user.ARN)), Owner: abroad}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},
		{docCross, "the identity alone", user, Policies{Identity: pol(allow), Owner: abroad}, NoMatch, "because no resource-based policy allows the s3:GetObject action"},
		{docCross, "the whole account is trusted", user, Policies{Identity: pol(allow), Resource: pol(grants(home)), Owner: abroad}, Allowed, ""},
		{docPrincipal, "a star still needs the other account's policies", user, Policies{Resource: pol(grants("*")), Owner: abroad}, NoMatch, "because no identity-based policy allows the s3:GetObject action"},
		{docCross, "a boundary limits the trusted account's side", user, Policies{Identity: pol(allow), Boundary: none, Resource: pol(grants(user.ARN)), Owner: abroad}, NoMatch, "because no permissions boundary allows the s3:GetObject action"},
		{docCross, "root of the other account", root, Policies{Resource: pol(grants(home)), Owner: abroad}, Allowed, ""},
		{docCross, "root is nobody in another account", root, Policies{Owner: abroad}, NoMatch, "because no resource-based policy allows the s3:GetObject action"},
	}
	for _, tt := range tests {
		t.Run(tt.source+"/"+tt.name, func(t *testing.T) {
			subject := Subject{Principal: tt.who}
			d := tt.policies.Decide(Request{Principal: tt.who, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/x", Context: subject.Keys()})
			if d.Outcome != tt.want || d.Reason() != tt.reason {
				t.Errorf("Decide = %v %q, want %v %q", d.Outcome, d.Reason(), tt.want, tt.reason)
			}
		})
	}
}

// TestDocumentedPolicies are the walk-throughs of the evaluation logic pages.
func TestDocumentedPolicies(t *testing.T) {
	carlos := Principal{ARN: "arn:aws:iam::123456789012:user/carlossalazar", Account: "123456789012"}
	single := Policies{
		Identity: named(t, "carlos",
			`{"Sid":"AllowS3ListRead","Effect":"Allow","Action":["s3:GetBucketLocation","s3:GetAccountPublicAccessBlock","s3:ListAccessPoints","s3:ListAllMyBuckets"],"Resource":"arn:aws:s3:::*"},
			 {"Sid":"AllowS3Self","Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::carlossalazar/*","arn:aws:s3:::carlossalazar"]},
			 {"Sid":"DenyS3Logs","Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::*log*"}`),
		Resource: named(t, "bucket", `{"Effect":"Allow","Principal":{"AWS":"`+carlos.ARN+`"},"Action":"s3:*","Resource":["arn:aws:s3:::carlossalazar/*","arn:aws:s3:::carlossalazar"]}`),
	}
	cross := Policies{
		Owner: "222222222222",
		Identity: named(t, "carlos",
			`{"Sid":"AllowS3ListRead","Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"},
			 {"Sid":"AllowS3ProductionObjectActions","Effect":"Allow","Action":"s3:*Object*","Resource":"arn:aws:s3:::Production/*"},
			 {"Sid":"DenyS3Logs","Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::*log*","arn:aws:s3:::*log*/*"]}`),
		Resource: named(t, "bucket", `{"Effect":"Allow","Action":["s3:GetObject*","s3:PutObject*","s3:ReplicateObject","s3:RestoreObject"],"Principal":{"AWS":"`+carlos.ARN+`"},"Resource":"arn:aws:s3:::Production/*"}`),
	}
	reports := Policies{Identity: named(t, "reports",
		`{"Sid":"AllowGetList","Effect":"Allow","Action":["iam:Get*","iam:List*"],"Resource":"*"},{"Sid":"DenyReports","Effect":"Deny","Action":"iam:*Report","Resource":"*"}`)}
	tests := []struct {
		source           string
		policies         Policies
		action, resource string
		want             Outcome
		sid              string
	}{
		{docLogic, single, "s3:PutObject", "arn:aws:s3:::carlossalazar-logs/x", Denied, "DenyS3Logs"},
		{docLogic, single, "s3:PutObject", "arn:aws:s3:::carlossalazar/x", Allowed, ""},
		{docLogic, single, "s3:ListAllMyBuckets", "arn:aws:s3:::*", Allowed, "AllowS3ListRead"},
		{docCross, cross, "s3:PutObject", "arn:aws:s3:::Production-logs/x", Denied, "DenyS3Logs"},
		{docCross, cross, "s3:PutObject", "arn:aws:s3:::Production/x", Allowed, "AllowS3ProductionObjectActions"},
		{docCross, cross, "s3:DeleteObject", "arn:aws:s3:::Production/x", NoMatch, ""},
		{docLogic, reports, "iam:ListUsers", "*", Allowed, "AllowGetList"},
		{docLogic, reports, "iam:CreatePolicy", "*", NoMatch, ""},
		{docLogic, reports, "iam:GetOrganizationsAccessReport", "*", Denied, "DenyReports"},
	}
	for _, tt := range tests {
		d := tt.policies.Decide(Request{Principal: carlos, Action: tt.action, Resource: tt.resource})
		sid := ""
		if len(d.By) > 0 {
			sid = d.By[0].Statement().Sid
		}
		if d.Outcome != tt.want || sid != tt.sid {
			t.Errorf("%s: %s on %s: %v by %q, want %v by %q", tt.source, tt.action, tt.resource, d.Outcome, sid, tt.want, tt.sid)
		}
	}
}

func TestNotPrincipal(t *testing.T) {
	bob := Principal{ARN: "arn:aws:iam::444455556666:user/Bob", Account: abroad, UserID: "AIDAEXAMPLEBOB1234567"}
	app := Principal{
		ARN: "arn:aws:sts::444455556666:assumed-role/cross-account-read-only-role/cross-account-audit-app", Account: abroad,
		RoleARN: "arn:aws:iam::444455556666:role/cross-account-read-only-role", UserID: "AROAEXAMPLEROLE123456:cross-account-audit-app",
	}
	other := app
	other.ARN += "-2"
	account := "arn:aws:iam::444455556666:root"
	tests := []struct {
		name, effect string
		list         string
		who          Principal
		want         Outcome
	}{
		{"Bob and his account", "Deny", `"` + bob.ARN + `","` + account + `"`, bob, NoMatch},
		{"everybody else", "Deny", `"` + bob.ARN + `","` + account + `"`, app, Denied},
		{"somebody else of Bob's account", "Deny", `"` + bob.ARN + `","` + account + `"`, Principal{ARN: "arn:aws:iam::444455556666:user/Eve", Account: abroad}, Denied},
		{"Bob without his account", "Deny", `"` + bob.ARN + `"`, bob, Denied},
		{"session, role and account", "Deny", `"` + app.ARN + `","` + app.RoleARN + `","` + account + `"`, app, NoMatch},
		{"another session of the role", "Deny", `"` + app.ARN + `","` + app.RoleARN + `","` + account + `"`, other, Denied},
		{"session without its role", "Deny", `"` + app.ARN + `","` + account + `"`, app, Denied},
		{"allow leaves out who is named at all", "Allow", `"` + app.RoleARN + `"`, app, NoMatch},
		{"allow to everybody else", "Allow", `"` + app.RoleARN + `"`, bob, Allowed},
	}
	for _, tt := range tests {
		p := named(t, docNot, `{"Effect":"`+tt.effect+`","NotPrincipal":{"AWS":[`+tt.list+`]},"Action":"s3:*","Resource":"*"}`)
		if got := p[0].Evaluate(Request{Principal: tt.who, Action: "s3:GetObject", Resource: "x"}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSentences(t *testing.T) {
	john := Principal{ARN: "arn:aws:iam::123456789012:user/JohnDoe", Account: "123456789012"}
	group := "arn:aws:codedeploy:us-east-1:123456789012:deploymentgroup:*"
	pol := func(effect, action string) []Policy {
		return named(t, "p", `{"Effect":"`+effect+`","Action":"`+action+`","Resource":"*"}`)
	}
	trust := func(statement string) []Policy { return named(t, "trust", statement) }
	tests := []struct {
		policies         Policies
		action, resource string
		want             string
	}{
		{Policies{}, "codecommit:ListRepositories", "", "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: codecommit:ListRepositories because no identity-based policy allows the codecommit:ListRepositories action"},
		{Policies{Identity: pol("Deny", "*")}, "codedeploy:ListDeployments", group, "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: codedeploy:ListDeployments on resource: " + group + " with an explicit deny in an identity-based policy"},
		{Policies{Identity: pol("Allow", "*"), Boundary: []Policy{}}, "codedeploy:ListDeployments", group, "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: codedeploy:ListDeployments on resource: " + group + " because no permissions boundary allows the codedeploy:ListDeployments action"},
		{Policies{Boundary: pol("Deny", "*")}, "sagemaker:ListModels", "", "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: sagemaker:ListModels with an explicit deny in a permissions boundary"},
		{Policies{Identity: pol("Allow", "*"), Session: []Policy{}}, "codecommit:ListRepositories", "", "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: codecommit:ListRepositories because no session policy allows the codecommit:ListRepositories action"},
		{Policies{Identity: pol("Allow", "*"), Owner: abroad}, "secretsmanager:GetSecretValue", "", "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: secretsmanager:GetSecretValue because no resource-based policy allows the secretsmanager:GetSecretValue action"},
		{Policies{Resource: pol("Deny", "*")}, "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:123456789012:secret:*", "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:us-east-1:123456789012:secret:* with an explicit deny in a resource-based policy"},
		{Policies{Identity: pol("Allow", "*"), Trust: true, ByResource: true}, "sts:AssumeRole", "", "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: sts:AssumeRole because no role trust policy allows the sts:AssumeRole action"},
		{Policies{Identity: pol("Allow", "*"), Resource: trust(`{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}`), Trust: true, ByResource: true}, "sts:AssumeRole", "", "User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: sts:AssumeRole with an explicit deny in the role trust policy"},
	}
	for _, tt := range tests {
		d := tt.policies.Decide(Request{Principal: john, Action: tt.action, Resource: tt.resource})
		if got := d.Sentence(); got != tt.want {
			t.Errorf("%s: Sentence =\n%s, want\n%s", docDenied, got, tt.want)
		}
	}
	// EC2's are public texts of those who met them, such as aws/aws-cdk issues.
	for resource, want := range map[string]string{
		"*": "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: ec2:DescribeInstances because no identity-based policy allows the ec2:DescribeInstances action",
		"arn:aws:ec2:us-east-1:123456789012:instance/*": "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/JohnDoe is not authorized to perform: ec2:DescribeInstances on resource: arn:aws:ec2:us-east-1:123456789012:instance/* because no identity-based policy allows the ec2:DescribeInstances action. Encoded authorization failure message: abc",
	} {
		d := (&Policies{}).Decide(Request{Principal: john, Action: "ec2:DescribeInstances", Resource: resource})
		encoded := ""
		if resource != "*" {
			encoded = "abc"
		}
		if got := d.UnauthorizedOperation(encoded); got != want {
			t.Errorf("UnauthorizedOperation =\n%s, want\n%s", got, want)
		}
	}
}

func TestDecisionTellsWhatMadeIt(t *testing.T) {
	p := Policies{
		Identity: append(named(t, "first", elsewhere), named(t, "second", elsewhere+","+allow)...),
		Session:  named(t, "session", allow),
	}
	d := p.Decide(Request{Principal: session, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/x"})
	type by struct {
		Layer  Layer
		Policy string
		Index  int
	}
	var got []by
	for _, m := range d.By {
		got = append(got, by{m.Layer, m.Policy.Name, m.Index})
	}
	if diff := cmp.Diff([]by{{IdentityBased, "second", 1}, {SessionPolicy, "session", 0}}, got); diff != "" || !d.Allowed() {
		t.Errorf("%v: %s", d.Outcome, diff)
	}
	if got, want := d.By[0].String(), "Allow statement 2 of policy second (identity-based policy)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.Session = named(t, "session", `{"Sid":"OnMondays","Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"day":"monday"}}}`)
	near := p.NearMisses(Request{Principal: session, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/x", Context: map[string][]string{"day": {"sunday"}}})
	if len(near) != 1 || near[0].Layer != SessionPolicy || near[0].Statement().Sid != "OnMondays" || near[0].Condition.Key != "day" || !slices.Equal(near[0].Given, []string{"sunday"}) {
		t.Errorf("NearMisses = %+v", near)
	}
}

func TestRemedies(t *testing.T) {
	p := Policies{Identity: named(t, "p", elsewhere), Owner: abroad, Boundary: []Policy{}}
	d := p.Decide(Request{Principal: session, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/x${y}"})
	var got []string
	for _, r := range d.Remedies() {
		got = append(got, r.Layer.String()+": "+r.Statement.JSON())
	}
	want := []string{
		`identity-based policy: {"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x${$}{y}"}`,
		`permissions boundary: {"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x${$}{y}"}`,
		`resource-based policy: {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/examplerole"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/x${$}{y}"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if r := (&Policies{Identity: named(t, "p", deny)}); len(remediesOf(r)) != 0 {
		t.Error("an explicit deny has a remedy")
	}
}

func remediesOf(p *Policies) []Remedy {
	d := p.Decide(Request{Principal: user, Action: "s3:GetObject", Resource: "*"})
	return d.Remedies()
}
