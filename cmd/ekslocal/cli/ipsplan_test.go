package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ekslocal/ekslocal/emulator/ipam/plan"
)

// plans are layouts in which different things run out.
var plans = map[string]string{
	"carries":      "--subnets 10.0.0.0/24,10.0.1.0/24 --nodes 4 --pods-per-node 20",
	"max-pods":     "--subnets 10.0.0.0/24,10.0.1.0/24 --instance-type m5.large --nodes 10 --pods-per-node 30",
	"addresses":    "--subnets 10.0.0.0/26 --nodes 3 --pods-per-node 12 --surge 1",
	"blocks":       "--subnets 10.0.0.0/27 --nodes 3 --pods-per-node 20 --prefix-delegation",
	"interfaces":   "--subnets 10.0.0.0/24 --instance-type t3.small --nodes 4 --pods-per-node 20 --max-pods 40",
	"max-eni":      "--subnets 10.0.0.0/24 --nodes 4 --pods-per-node 20 --max-eni 1 --daemonset-pods 1",
	"warm-targets": "--subnets 10.0.0.0/24,10.0.1.0/24 --nodes 4 --pods-per-node 20 --minimum-ip-target 12",
	"launch":       "--subnets 10.0.0.0/28,10.0.1.0/28 --nodes 25 --pods-per-node 2",
	"custom":       "--subnets 10.0.0.0/24 --custom-networking-subnets 100.64.0.0/27 --nodes 4 --pods-per-node 10",
}

func TestIPsPlan(t *testing.T) {
	for name, args := range plans {
		t.Run(name, func(t *testing.T) {
			out := newShell(t).must(append([]string{"ips", "plan"}, strings.Fields(args)...)...)
			golden(t, "ips-plan-"+name+".golden", []byte("$ ekslocal ips plan "+args+"\n"+out))
		})
	}
}

func TestIPsPlanJSON(t *testing.T) {
	out := newShell(t).must("ips", "plan", "--subnets", "10.0.0.0/26", "--nodes", "3", "--pods-per-node", "12", "-o", "json", "--advice=false")
	golden(t, "ips-plan.json.golden", []byte(out))
	var r plan.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.First == nil || r.First.Resource != plan.SubnetAddresses || r.Advice != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestIPsPlanRefuses(t *testing.T) {
	const one = "--subnets 10.0.0.0/24 "
	for _, tc := range []struct{ args, want string }{
		{"", "--subnets names none"},
		{"--subnets banana", `--subnets: "banana" is not a CIDR block, such as 10.0.0.0/24`},
		{"--subnets 10.0.0.0", `--subnets: "10.0.0.0" is not a CIDR block, such as 10.0.0.0/24`},
		{"--subnets 10.0.0.1/24", "--subnets: 10.0.0.1/24 has host bits set: the block is 10.0.0.0/24"},
		{"--subnets fd00::/64", "--subnets: fd00::/64 is not an IPv4 block, such as 10.0.0.0/24"},
		{"--subnets 10.0.0.0/29", "--subnets: 10.0.0.0/29 cannot be a subnet: AWS's are between /16 and /28"},
		{"--subnets 10.0.0.0/8", "--subnets: 10.0.0.0/8 cannot be a subnet: AWS's are between /16 and /28"},
		{"--subnets 10.0.0.0/24,10.0.0.128/25", "the subnets 10.0.0.0/24 and 10.0.0.128/25 overlap"},
		{one + "--custom-networking-subnets 10.0.0.0/25", "the subnets 10.0.0.0/24 and 10.0.0.0/25 overlap"},
		{one + "--custom-networking-subnets 100.64.0.0/24,100.65.0.0/24", "--custom-networking-subnets names 2 and --subnets 1: each subnet of nodes needs one of pods in its zone"},
		{one + "--instance-type m5.larg", "there is no instance type m5.larg: did you mean m5.large?"},
		{one + "--instance-type zork", "there is no instance type zork: `aws ec2 describe-instance-types` lists them"},
		{one + "--instance-type=", "--instance-type names none, such as m5.large"},
		{one + "--nodes 0", "--nodes 0 is not between 1 and 5000"},
		{one + "--nodes -3", "--nodes -3 is not between 1 and 5000"},
		{one + "--pods-per-node -1", "--pods-per-node -1 is not between 0 and 1000"},
		{one + "--control-plane-enis 9", "--control-plane-enis 9 is not between 0 and 4"},
		{one + "--surge 9", "--surge 9 is not between 0 and 3"},
		{one + "--max-pods -1", "--max-pods -1 is not between 0 and 1000"},
		{one + "--warm-ip-target -1", "--warm-ip-target -1 is negative: the VPC CNI would take its default instead"},
		{one + "--max-eni 0", "--max-eni 0 is not a number of interfaces: leave it out for the instance type's limit"},
		{one + "--nodes x", `invalid argument "x" for "--nodes" flag: strconv.ParseInt: parsing "x": invalid syntax: see ` + "`ekslocal ips plan --help`"},
		{one + "-o yaml", "-o yaml is neither table nor json"},
		{one + "--prefix-delegation --warm-prefix-target 0", "aws-node would not start: Setting WARM_PREFIX_TARGET = 0 is not supported while WARM_IP_TARGET/MINIMUM_IP_TARGET is not set. Please configure either one of the WARM_{PREFIX/IP}_TARGET or MINIMUM_IP_TARGET env variables"},
	} {
		_, got, code := newShell(t).run(append([]string{"ips", "plan"}, strings.Fields(tc.args)...)...)
		if got != "ekslocal: "+tc.want+"\n" || code != 1 {
			t.Errorf("%s: status %d, %q; want %q", tc.args, code, got, tc.want)
		}
	}
}
