package ec2

import "testing"

func TestNamesOfPartitions(t *testing.T) {
	for region, want := range map[string][2]string{
		"us-east-1":     {"ec2-3-4-5-6.compute-1.amazonaws.com", "ec2.internal"},
		"eu-west-1":     {"ec2-3-4-5-6.eu-west-1.compute.amazonaws.com", "eu-west-1.compute.internal"},
		"cn-north-1":    {"ec2-3-4-5-6.cn-north-1.compute.amazonaws.com.cn", "cn-north-1.compute.internal"},
		"us-gov-west-1": {"ec2-3-4-5-6.us-gov-west-1.compute.amazonaws.com", "us-gov-west-1.compute.internal"},
	} {
		if got := [2]string{publicName(region, "3.4.5.6"), privateDomain(region)}; got != want {
			t.Errorf("%s: %v, want %v", region, got, want)
		}
	}
}
