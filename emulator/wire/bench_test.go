package wire_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	apiec2 "github.com/ekslocal/ekslocal/api/ec2"
	apieks "github.com/ekslocal/ekslocal/api/eks"
	"github.com/ekslocal/ekslocal/emulator/wire"
)

// Route, decode, call and encode: all that wire does for one request.
func BenchmarkDescribeCluster(b *testing.B) {
	s := bind(b, apieks.Model(), eksServer{})
	r := httptest.NewRequest(http.MethodGet, "/clusters/dev", nil)
	b.ReportAllocs()
	for b.Loop() {
		o, labels := s.Route(r.Method, r.URL.EscapedPath())
		in, err := s.Decode(o, &wire.Request{HTTP: r, Labels: labels})
		if err != nil {
			b.Fatal(err)
		}
		out, err := s.Call(b.Context(), o, in)
		if err != nil {
			b.Fatal(err)
		}
		_, body := s.Encode(o, out, http.Header{}, "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE")
		b.SetBytes(int64(len(body)))
	}
}

func BenchmarkDecodeCreateCluster(b *testing.B) {
	s := bind(b, apieks.Model(), eksServer{})
	o := s.Operation("CreateCluster")
	body := []byte(`{"name":"dev","roleArn":"arn:aws:iam::000000000000:role/eks","version":"1.36","resourcesVpcConfig":{"subnetIds":["subnet-1","subnet-2"],"endpointPrivateAccess":false},"accessConfig":{"authenticationMode":"API"},"tags":{"a":"b"},"clientRequestToken":"7a62c49f-347e-4fc4-9331-6e8eEXAMPLE"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Decode(o, &wire.Request{Body: body}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRunInstances(b *testing.B) {
	s := bind(b, apiec2.Model(), ec2Server{})
	o := s.Operation("RunInstances")
	form, err := url.ParseQuery("Action=RunInstances&Version=2016-11-15&ImageId=ami-1&MinCount=1&MaxCount=1&SecurityGroupId.1=sg-1&SubnetId=subnet-1&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Decode(o, &wire.Request{Form: form}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode100Vpcs(b *testing.B) {
	s := bind(b, apiec2.Model(), ec2Server{})
	o := s.Operation("DescribeVpcs")
	out := &ec2.DescribeVpcsOutput{}
	for range 100 {
		out.Vpcs = append(out.Vpcs, ec2types.Vpc{VpcId: aws.String("vpc-0123456789abcdef0"), CidrBlock: aws.String("10.0.0.0/16"), State: "available",
			IsDefault: aws.Bool(false), Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("dev")}}})
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Encode(o, out, http.Header{}, "id")
	}
}

// What the service adds to the emulator's start: parse the table and bind.
func BenchmarkBindEC2(b *testing.B) {
	table := apiec2.Table()
	for b.Loop() {
		bind(b, wire.MustParse(table), ec2Server{})
	}
}

// Start-up must not grow with the tables: all services together take a few
// milliseconds, the emulator as a whole has 500.
func TestBindIsFast(t *testing.T) {
	best := time.Hour
	for range 3 { // the machine may be busy
		start := time.Now()
		bind(t, wire.MustParse(apiec2.Table()), ec2Server{})
		best = min(best, time.Since(start))
	}
	if best > 100*time.Millisecond {
		t.Errorf("binding EC2 took %v", best)
	}
}
