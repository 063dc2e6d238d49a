package sigv4

import (
	"testing"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

func TestBuiltinOfPartitions(t *testing.T) {
	for partition, want := range map[string]string{
		awsid.PartitionAWS: "arn:aws:iam::000000000000:root", awsid.PartitionChina: "arn:aws-cn:iam::000000000000:root", awsid.PartitionGov: "arn:aws-us-gov:iam::000000000000:root",
	} {
		k, ok := Builtin{}.Key(t.Context(), partition, "test")
		if !ok || k.Caller.ARN != want || k.Caller.Partition() != partition {
			t.Errorf("test in %s is %+v, %v", partition, k.Caller, ok)
		}
	}
}
