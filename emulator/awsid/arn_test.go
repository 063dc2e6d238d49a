package awsid

import "testing"

func TestScope(t *testing.T) {
	tests := []struct{ region, partition, regional, role, global string }{
		{"us-east-1", "aws", "arn:aws:eks:us-east-1:111122223333:cluster/c", "arn:aws:iam::111122223333:role/r", ""},
		{"", "aws", "arn:aws:eks::111122223333:cluster/c", "arn:aws:iam::111122223333:role/r", ""},
		{"cn-north-1", "aws-cn", "arn:aws-cn:eks:cn-north-1:111122223333:cluster/c", "arn:aws-cn:iam::111122223333:role/r", "aws-cn-global"},
		{"us-gov-east-1", "aws-us-gov", "arn:aws-us-gov:eks:us-gov-east-1:111122223333:cluster/c", "arn:aws-us-gov:iam::111122223333:role/r", "aws-us-gov-global"},
	}
	for _, tt := range tests {
		s := Scope{Account: "111122223333", Region: tt.region}
		if got := s.Partition(); got != tt.partition {
			t.Errorf("%q is in %s, want %s", tt.region, got, tt.partition)
		}
		if got := s.ARN("eks", "cluster/c"); got != tt.regional {
			t.Errorf("%q: %s, want %s", tt.region, got, tt.regional)
		}
		g := s.Global()
		if got := g.ARN("iam", "role/r"); got != tt.role || g.Region != tt.global || g.Partition() != tt.partition || g.Global() != g {
			t.Errorf("%q: global scope %+v makes %s, want %s", tt.region, g, got, tt.role)
		}
		for _, arn := range []string{tt.regional, tt.role} {
			a, err := ParseARN(arn)
			if err != nil || a.String() != arn || !a.SameAccount(s) {
				t.Errorf("%s = %+v, %v", arn, a, err)
			}
			if where := a.Scope(); where != s && where != g || !a.In(where) {
				t.Errorf("%s is in %+v", arn, where)
			}
		}
	}
	for arn, in := range map[string]Scope{
		"arn:aws:eks:cn-north-1:111122223333:cluster/c":           {Account: "111122223333", Region: "cn-north-1"},
		"arn:aws-cn:eks:us-east-1:111122223333:cluster/c":         {Account: "111122223333", Region: "us-east-1"},
		"arn:aws:iam::111122223333:role/r":                        GlobalScope(PartitionChina, "111122223333"),
		"arn:aws-us-gov:eks:us-gov-west-1:222233334444:cluster/c": {Account: "111122223333", Region: "us-gov-west-1"},
	} {
		if a, err := ParseARN(arn); err != nil || a.In(in) || a.SameAccount(in) {
			t.Errorf("%s is in %+v: %v", arn, in, err)
		}
	}
}
