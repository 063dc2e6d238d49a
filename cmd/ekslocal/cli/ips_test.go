package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"

	"github.com/ekslocal/ekslocal/api/admin"
	adminserver "github.com/ekslocal/ekslocal/emulator/admin"
)

// noAddress is the event's text about a sandbox.
func noAddress(sandbox string) string {
	return `Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "` + strings.Repeat(sandbox, 64) +
		`": plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container`
}

// exhausted is a cluster that has run out of addresses.
func exhausted() *admin.AddressUse {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	retry := now.Add(95 * time.Second)
	const account, region, dev = "000000000000", "us-east-1", "dev"
	held := func(counts ...int) map[admin.Holder]int {
		m := map[admin.Holder]int{}
		for i, h := range admin.Holders() {
			if i < len(counts) {
				m[h] = counts[i]
			}
		}
		return m
	}
	return &admin.AddressUse{
		Time: now,
		Subnets: []admin.SubnetUse{
			{Account: account, Region: region, VPC: "vpc-1", ID: "subnet-a", Zone: "us-east-1a", CIDR: "10.0.0.0/26", Clusters: []string{dev}, Size: 64,
				Held: held(5, 1, 4, 36, 0, 2, 0, 1, 1), Free: 14, Available: 14, FreeRuns: []admin.FreeRun{}},
			{Account: account, Region: region, VPC: "vpc-1", ID: "subnet-b", Zone: "us-east-1b", CIDR: "10.0.1.0/24", Clusters: []string{dev, "other"}, Size: 256,
				Held: held(5, 1, 1, 3, 13), Free: 233, Available: 233, Prefixes: 1, FreePrefixes: 13,
				FreeRuns:     []admin.FreeRun{{First: "10.0.1.48/28", Blocks: 8}, {First: "10.0.1.192/28", Blocks: 5}},
				Reservations: []admin.CIDRReservation{{CIDR: "10.0.1.32/28", Type: "prefix"}}},
			{Account: account, Region: region, VPC: "vpc-default", ID: "subnet-c", Zone: "us-east-1a", CIDR: "172.31.0.0/20", Size: 4096,
				Held: held(5), Free: 4091, Available: 4091, FreePrefixes: 254, FreeRuns: []admin.FreeRun{{First: "172.31.0.16/28", Blocks: 254}}},
			{Account: "111122223333", Region: "eu-west-1", VPC: "vpc-2", ID: "subnet-d", Zone: "eu-west-1a", CIDR: "10.0.0.0/28", Size: 16,
				Held: held(5), Free: 11, Available: 11, FreeRuns: []admin.FreeRun{}},
		},
		Nodes: []admin.NodePool{
			{Account: account, Region: region, Cluster: dev, Name: "ip-10-0-0-10.ec2.internal", InstanceID: "i-1", InstanceType: "m5.large", Started: true,
				Interfaces: []admin.Interface{
					{ID: "eni-1", Subnet: "subnet-a", Address: "10.0.0.10", Addresses: 9, Assigned: 9},
					{ID: "eni-2", Subnet: "subnet-a", Address: "10.0.0.20", Addresses: 9, Assigned: 7, Cooling: 2},
				},
				MaxInterfaces: 3, MaxAddresses: 27, Total: 18, Assigned: 16, Cooling: 2, Settings: []string{"WARM_ENI_TARGET=1"}, RetryAt: &retry,
				LastError: "InsufficientFreeAddressesInSubnet: The specified subnet does not have enough free addresses to satisfy the request."},
			{Account: account, Region: region, Cluster: dev, Name: "ip-10-0-0-11.ec2.internal", InstanceID: "i-2", InstanceType: "t3.small", Started: true,
				Interfaces:    []admin.Interface{{ID: "eni-3", Subnet: "subnet-a", Address: "10.0.0.11", Addresses: 3, Assigned: 3, Use: "excluded"}},
				MaxInterfaces: 1, MaxAddresses: 3, Total: 3, Assigned: 3, Settings: []string{"WARM_IP_TARGET=2", "MINIMUM_IP_TARGET=10", "MAX_ENI=1"}},
			{Account: account, Region: region, Cluster: dev, Name: "ip-10-0-1-4.ec2.internal", InstanceID: "i-3", InstanceType: "m5.large", Started: true,
				Interfaces:    []admin.Interface{{ID: "eni-4", Subnet: "subnet-b", Address: "10.0.1.4", Addresses: 16, Assigned: 3, Prefixes: []string{"10.0.1.16/28"}}},
				MaxInterfaces: 3, MaxAddresses: 432, Total: 16, Assigned: 3, Warm: 13, Prefixes: 1, Settings: []string{"ENABLE_PREFIX_DELEGATION=true", "WARM_PREFIX_TARGET=1"}},
			{Account: account, Region: region, Cluster: "other", Name: "ip-10-0-1-5.ec2.internal", InstanceID: "i-4", InstanceType: "m5.large",
				Interfaces: []admin.Interface{{ID: "eni-5", Subnet: "subnet-b", Address: "10.0.1.5"}}, Settings: []string{}},
		},
		Waiting: []admin.WaitingPod{
			{Account: account, Region: region, Cluster: dev, Namespace: "default", Name: "web-1", Node: "ip-10-0-0-10.ec2.internal",
				Since: now.Add(-130 * time.Second), RetryAt: now.Add(7 * time.Second), Message: noAddress("a")},
			{Account: account, Region: region, Cluster: dev, Namespace: "shop", Name: "cart-0", Node: "ip-10-0-0-11.ec2.internal",
				Since: now.Add(-20 * time.Second), RetryAt: now.Add(-time.Second), Message: noAddress("b")},
			{Account: account, Region: region, Cluster: dev, Namespace: "shop", Name: "cart-1", Node: "ip-10-0-0-11.ec2.internal",
				Since: now.Add(-10 * time.Second), RetryAt: now.Add(time.Second), Message: "Failed to create pod sandbox: another reason"},
		},
	}
}

func TestRenderAddresses(t *testing.T) {
	healthy := exhausted()
	healthy.Subnets, healthy.Nodes, healthy.Waiting = healthy.Subnets[1:2], healthy.Nodes[2:3], nil
	idle := exhausted()
	idle.Subnets, idle.Nodes, idle.Waiting = idle.Subnets[2:3], nil, nil
	for name, tc := range map[string]struct {
		use  *admin.AddressUse
		wide bool
	}{
		"ips-exhausted": {exhausted(), false}, "ips-wide": {exhausted(), true}, "ips-healthy": {healthy, false},
		"ips-idle": {idle, false}, "ips-nothing": {&admin.AddressUse{}, false},
	} {
		var out bytes.Buffer
		if err := renderAddresses(&out, tc.use, tc.wide); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".golden", out.Bytes())
	}
}

func TestIPsCommand(t *testing.T) {
	r := mux.NewRouter()
	adminserver.Register(r, &fake{}, nil)
	srv := httptest.NewServer(r)
	defer srv.Close()
	s := newShell(t)
	s.env["AWS_ENDPOINT_URL"] = srv.URL
	if got := s.must("ips", "-o", "json"); got != "{\n  \"time\": \"2023-11-14T22:13:20Z\",\n  \"subnets\": [],\n  \"nodes\": [],\n  \"waiting\": []\n}\n" {
		t.Errorf("json: %s", got)
	}
	golden(t, "ips-subnet.golden", []byte(s.must("ips", "--subnet", "subnet-a")))
	if got := s.must("ips", "--subnet", "subnet-a", "-o", "json"); !strings.Contains(got, `"pod": "default/web"`) {
		t.Errorf("json: %s", got)
	}
	if _, errs, code := s.run("ips", "--cluster", "dev"); code != 1 || errs != "ekslocal: there is no cluster dev\n" {
		t.Errorf("an unknown cluster: status %d, %q", code, errs)
	}
	if _, errs, code := s.run("ips", "--cluster", "dev", "--watch"); code != 1 || errs != "ekslocal: there is no cluster dev\n" {
		t.Errorf("watching an unknown cluster: status %d, %q", code, errs)
	}
}

// looks answers one after the other, then ends the watch.
func looks(end func(), answers ...*admin.AddressUse) func() (*admin.AddressUse, error) {
	return func() (*admin.AddressUse, error) {
		if len(answers) == 0 {
			end()
			return nil, context.Canceled
		}
		next := answers[0]
		answers = answers[1:]
		return next, nil
	}
}

// always is a clock that has ticked already.
func always() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

func TestWatchPrintsChanges(t *testing.T) {
	later, retried, gone := exhausted(), exhausted(), exhausted()
	later.Time = later.Time.Add(time.Second)
	retried.Waiting[0].RetryAt, retried.Waiting[0].Message = retried.Time.Add(time.Minute), "of another sandbox"
	gone.Waiting = gone.Waiting[1:]
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	show := func(w io.Writer, u *admin.AddressUse) error {
		_, err := io.WriteString(w, u.Waiting[0].Name+"\n")
		return err
	}
	err := watchAddresses(ctx, &out, always(), looks(cancel, exhausted(), later, retried, gone, gone, exhausted()), show)
	if d := cmp.Diff("web-1\ncart-0\nweb-1\n", out.String()); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	lost := errors.New("lost")
	if err := watchAddresses(t.Context(), &out, always(), func() (*admin.AddressUse, error) { return nil, lost }, show); !errors.Is(err, lost) {
		t.Errorf("without an emulator: %v", err)
	}
}

func TestJSONOfAWatchIsALineEach(t *testing.T) {
	show, err := addressRenderer("json", true)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := show(&out, exhausted()); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%v, %q", err, out.String())
	}
}

func TestRedraw(t *testing.T) {
	texts := []string{"one\ntwo two two\n\nthree\nfour\n", "1\n"}
	show := func(w io.Writer, u *admin.AddressUse) error {
		_, err := io.WriteString(w, texts[len(u.Nodes)])
		return err
	}
	var out bytes.Buffer
	draw := redraw(&out, show, func() (int, int) { return 8, 4 })
	for _, u := range []*admin.AddressUse{{}, {Nodes: make([]admin.NodePool, 1)}} {
		if err := draw(u); err != nil {
			t.Fatal(err)
		}
	}
	want := "\x1b[2J\x1b[H" + "one\x1b[K\r\ntwo two…\x1b[K\r\n\x1b[K\r\n... 2 m…\x1b[K\x1b[J" + "\x1b[H" + "1\x1b[K\x1b[J"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}
