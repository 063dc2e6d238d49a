package policy

import (
	"encoding/json"
	"testing"
)

func TestEncode(t *testing.T) {
	p := Policies{Identity: named(t, "guardrails", `{"Sid":"DenyProd","Effect":"Deny","Action":"s3:*","Resource":"*"}`)}
	d := p.Decide(Request{Principal: user, Action: "s3:DeleteBucket", Resource: "arn:aws:s3:::prod", Context: map[string][]string{"aws:username": {"exampleuser"}}})
	plain, err := Decode(d.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var got decodedMessage
	if err := json.Unmarshal([]byte(plain), &got); err != nil {
		t.Fatal(err)
	}
	m := got.MatchedStatements.Items
	if got.Allowed || !got.ExplicitDeny || len(m) != 1 || m[0].StatementID != "DenyProd" || m[0].Effect != "DENY" || m[0].SourcePolicyID != "guardrails" ||
		got.Context.Principal.ARN != user.ARN || got.Context.Action != "s3:DeleteBucket" || got.Context.Conditions.Items[0].Values.Items[0].Value != "exampleuser" {
		t.Errorf("%s", plain)
	}
	for _, bad := range []string{"", "x", "AAAA", "***"} {
		if _, err := Decode(bad); err == nil {
			t.Errorf("%q is decoded", bad)
		}
	}
}

func FuzzDecode(f *testing.F) {
	d := (&Policies{}).Decide(Request{Principal: user, Action: "ec2:RunInstances", Resource: "*"})
	f.Add(d.Encode())
	f.Fuzz(func(t *testing.T, encoded string) {
		if plain, err := Decode(encoded); err == nil && !json.Valid([]byte(plain)) {
			t.Errorf("%q", plain)
		}
	})
}
