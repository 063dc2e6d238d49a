package policy

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLocate(t *testing.T) {
	for _, tt := range []struct {
		source, doc string
		want        []Span
	}{
		{"AWS CLI reference: simulate-custom-policy", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}`,
			[]Span{{Position{1, 38}, Position{1, 167}}}},
		{"AdministratorAccess, simulated by many", "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n    {\n      \"Effect\": \"Allow\",\n      \"Action\": \"*\",\n      \"Resource\": \"*\"\n    }\n  ]\n}",
			[]Span{{Position{3, 17}, Position{8, 6}}}},
		{"a second statement begins where the first ends", `{"Statement":[{"Effect":"Allow"},{"Effect":"Deny"}]}`,
			[]Span{{Position{1, 15}, Position{1, 33}}, {Position{1, 33}, Position{1, 51}}}},
	} {
		d, err := Parse(tt.doc)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, d.Locate()); diff != "" {
			t.Errorf("%s: %s", tt.source, diff)
		}
	}
}

func TestContextKeys(t *testing.T) {
	d, err := Parse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/${*}","Condition":{"StringLike":{"s3:prefix":["${aws:userid, 'x'}","y"]},"Bool":{"aws:SecureTransport":true}}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"aws:username", "aws:SecureTransport", "s3:prefix", "aws:userid"}, d.ContextKeys()); diff != "" {
		t.Error(diff)
	}
}

func TestCache(t *testing.T) {
	var c Cache
	const doc = `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
	one, err := c.Parse(doc)
	two, err2 := c.Parse(doc)
	if err != nil || err2 != nil || one != two {
		t.Errorf("%p %v, %p %v", one, err, two, err2)
	}
	if _, err := c.Parse("{"); !errors.Is(err, ErrJSON) || len(c.docs) != 1 {
		t.Errorf("%v, %d kept", err, len(c.docs))
	}
}
