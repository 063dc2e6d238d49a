package policy

import (
	"strings"
	"testing"
)

// FuzzDecide judges with foreign documents in every layer and holds the answer to what
// must be true of each: a denial by a statement that denies, an allow by ones that
// allow, and remedies that help.
func FuzzDecide(f *testing.F) {
	for _, s := range []string{
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","NotAction":"s3:*","NotResource":"arn:aws:s3:::b/${aws:username, 'x'}","Condition":{"ForAllValues:StringNotLikeIfExists":{"k":["a*","${*}"]}}}]}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","NotPrincipal":{"AWS":["444455556666"]},"Action":["s3:Get*","?3:*"],"Resource":"arn:aws:s3","Condition":{"Null":{"k":false},"IpAddress":{"k":"10.0.0.0/8"},"DateLessThan":{"k":"2026"},"NumericEquals":{"k":1}}}}`,
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:role/examplerole","111122223333"]},"Action":"s3:GetObject","Resource":"${","Condition":{"ArnLike":{"k":"arn:*:*:*:*:*"},"BinaryEquals":{"k":"aa=="},"ForAnyValue:StringEquals":{"aws:TagKeys":"a"}}}}`,
	} {
		f.Add(s, s, "s3:GetObject", "arn:aws:s3:::b/x", "k", "v", uint8(7))
	}
	f.Fuzz(func(t *testing.T, own, theirs, action, resource, key, val string, shape uint8) {
		d1, err1 := Parse(own)
		d2, err2 := Parse(theirs)
		if err1 != nil || err2 != nil {
			return
		}
		if spans := d1.Locate(); len(spans) != len(d1.Statements) {
			t.Errorf("%d statements are at %d places", len(d1.Statements), len(spans))
		}
		d1.ContextKeys()
		p := Policies{Identity: []Policy{{Name: "own", Document: d1}}, Resource: []Policy{{Name: "theirs", Document: d2}}}
		if shape&1 != 0 {
			p.Boundary = []Policy{{Name: "boundary", Document: d2}}
		}
		if shape&2 != 0 {
			p.Session = []Policy{{Name: "session", Document: d2}}
		}
		if shape&4 != 0 {
			p.Owner = abroad
		}
		p.ByResource, p.Trust = shape&8 != 0, shape&16 != 0
		who := user
		if shape&32 != 0 {
			who = session
		}
		r := Request{Principal: who, Action: action, Resource: resource, Context: map[string][]string{strings.ToLower(key): {val}, "aws:tagkeys": {val, "a"}}}
		d := p.Decide(r)
		p.NearMisses(r)
		for _, m := range d.By {
			if m.Statement().Allow != (d.Outcome == Allowed) {
				t.Errorf("%v by a statement that does the opposite", d.Outcome)
			}
		}
		switch applying := p.Applying(r); {
		case d.Outcome == Allowed && (len(d.By) == 0 || d.Missing != nil || d.Reason() != "" || len(applying) == 0 || !applying[0].Statement().Allow):
			t.Errorf("an allow without a reason: %+v", d)
		case d.Outcome == Denied && (len(d.By) != 1 || d.Missing != nil || applying[0].Statement().Allow):
			t.Errorf("a denial without a reason: %+v", d)
		case d.Outcome == NoMatch && (d.By != nil || len(d.Missing) == 0):
			t.Errorf("nothing is missing: %+v", d)
		}
		if d.Outcome == NoMatch && plainRequest(r) {
			remedy(t, p, d)
		}
	})
}

// plainRequest tells whether a request could be AWS's: what is no action and no ARN
// cannot be written into a statement.
func plainRequest(r Request) bool {
	if r.Resource != "*" && (!strings.HasPrefix(r.Resource, "arn:aws:s3:::") || strings.ContainsRune(r.Resource, '\uFFFD')) {
		return false
	}
	vendor, name, ok := strings.Cut(r.Action, ":")
	return ok && vendorPattern.MatchString(vendor) && actionPattern.MatchString(name) && strings.ToValidUTF8(r.Resource, "\uFFFD") == r.Resource
}

func remedy(t *testing.T, p Policies, d Decision) {
	t.Helper()
	for _, m := range d.Remedies() {
		doc, err := Parse(`{"Version":"2012-10-17","Statement":[` + m.Statement.JSON() + `]}`)
		if err != nil {
			t.Fatalf("%s: %v", m.Statement.JSON(), err)
		}
		more := []Policy{{Name: "remedy", Document: doc}}
		switch m.Layer {
		case IdentityBased:
			p.Identity = append(p.Identity, more...)
		case PermissionsBoundary:
			p.Boundary = append(p.Boundary, more...)
		case SessionPolicy:
			p.Session = append(p.Session, more...)
		default:
			p.Resource = append(p.Resource, more...)
		}
	}
	if again := p.Decide(d.Request); again.Outcome != Allowed {
		t.Errorf("with %+v it is still %v, lacking %v", d.Remedies(), again.Outcome, again.Missing)
	}
}
