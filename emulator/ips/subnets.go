package ips

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// prefixSize is how many addresses a prefix for pods has.
const prefixSize = 16

// subnet is what is counted for a subnet.
type subnet struct {
	held     map[api.Holder]int
	prefixes int
	clusters map[string]bool
}

// walk is one look at an account's region.
type walk struct {
	rp       *Reporter
	r        store.Reader
	sc       awsid.Scope
	clusters []*eks.Cluster // chosen, of this scope
	subnets  map[string]*subnet
	members  map[string]*member // nodes of any cluster, by instance id
	nodes    []api.NodePool     // of the chosen clusters
}

func (rp *Reporter) walk(r store.Reader, sc awsid.Scope, clusters []*eks.Cluster) *walk {
	w := &walk{rp: rp, r: r, sc: sc, subnets: map[string]*subnet{}, members: map[string]*member{}}
	for _, c := range clusters {
		if c.Scope == sc {
			w.clusters = append(w.clusters, c)
		}
	}
	w.nameClusters()
	w.findMembers()
	for u := range rp.EC2.InterfaceUses(r, sc) {
		w.count(u)
	}
	w.listNodes()
	return w
}

func (w *walk) subnet(id string) *subnet {
	s := w.subnets[id]
	if s == nil {
		s = &subnet{held: map[api.Holder]int{}, clusters: map[string]bool{}}
		w.subnets[id] = s
	}
	return s
}

// nameClusters notes which subnets the clusters are told to use. All clusters of
// the scope count: a subnet that is shared shows it.
func (w *walk) nameClusters() {
	for _, c := range eks.Clusters.List(w.r, w.sc) {
		name, ids := *c.Resource.Name, []string(nil)
		if v := c.Resource.ResourcesVpcConfig; v != nil {
			ids = append(ids, v.SubnetIds...)
		}
		for _, n := range eks.Nodegroups.ListPrefix(w.r, w.sc, eks.ClusterPrefix(name)) {
			ids = append(ids, n.Resource.Subnets...)
		}
		for _, p := range eks.FargateProfiles.ListPrefix(w.r, w.sc, eks.ClusterPrefix(name)) {
			ids = append(ids, p.Resource.Subnets...)
		}
		for _, id := range ids {
			w.subnet(id).clusters[name] = true
		}
	}
}

var holderOf = map[ec2.Owner]api.Holder{
	ec2.OwnerControlPlane: api.HeldControlPlane, ec2.OwnerFargate: api.HeldFargate, ec2.OwnerNatGateway: api.HeldNATGateway,
	ec2.OwnerLoadBalancer: api.HeldLoadBalancer, ec2.OwnerEndpoint: api.HeldEndpoint, ec2.OwnerBranch: api.HeldBranch,
}

// count adds what one interface holds to its subnet.
func (w *walk) count(u ec2.InterfaceUse) {
	s := w.subnet(u.SubnetID)
	s.prefixes += u.Prefixes
	own, rest := 0, u.Secondary+prefixSize*u.Prefixes
	if u.Primary != "" {
		own = 1
	}
	if h, ok := holderOf[u.Owner]; ok {
		s.held[h] += own + rest
		return
	}
	m := w.members[nodeOf(u)]
	if m == nil {
		s.held[api.HeldOther] += own + rest
		return
	}
	s.clusters[m.cluster] = true
	s.held[api.HeldNodePrimary] += own
	p := m.split(u, rest)
	s.held[api.HeldPodAssigned] += p.assigned
	s.held[api.HeldPodCooling] += p.cooling
	s.held[api.HeldPodWarm] += p.warm
	s.held[api.HeldOther] += p.unused
}

// descriptionOfCNI begins the description of the interfaces that the CNI makes; the
// instance's id follows. It tells whose one is that is not attached yet.
const descriptionOfCNI = "aws-K8S-"

func nodeOf(u ec2.InterfaceUse) string {
	if u.InstanceID != "" {
		return u.InstanceID
	}
	id, _ := strings.CutPrefix(u.Description, descriptionOfCNI)
	return id
}

// report lists the scope's subnets, or only those of the chosen clusters' VPCs.
func (w *walk) report(chosen bool) []api.SubnetUse {
	vpcs := map[string]bool{}
	for _, c := range w.clusters {
		if v := c.Resource.ResourcesVpcConfig; v != nil {
			vpcs[aws.ToString(v.VpcId)] = true
		}
	}
	var out []api.SubnetUse
	for _, s := range ec2.Subnets.List(w.r, w.sc) {
		if chosen && !vpcs[aws.ToString(s.VpcId)] {
			continue
		}
		if pool := ec2.SubnetAddresses.Get(w.r, w.sc, *s.SubnetId); pool != nil && pool.IPv4 != nil {
			out = append(out, w.use(s, pool))
		}
	}
	slices.SortFunc(out, func(a, b api.SubnetUse) int { return cmp.Or(cmp.Compare(a.VPC, b.VPC), byCIDR(a, b)) })
	return out
}

func byCIDR(a, b api.SubnetUse) int {
	x, _ := netip.ParsePrefix(a.CIDR) // the subnets' own, which parse
	y, _ := netip.ParsePrefix(b.CIDR)
	return x.Addr().Compare(y.Addr())
}

func (w *walk) use(rec *ec2.Subnet, pool *ec2.SubnetAddressPool) api.SubnetUse {
	s := w.subnet(*rec.SubnetId)
	out := api.SubnetUse{
		Account: w.sc.Account, Region: w.sc.Region, VPC: aws.ToString(rec.VpcId), ID: *rec.SubnetId, Zone: aws.ToString(rec.AvailabilityZone),
		CIDR: pool.IPv4.CIDR.String(), Clusters: slices.AppendSeq([]string{}, maps.Keys(s.clusters)), Size: ipam.Size(pool.IPv4.CIDR),
		Held: map[api.Holder]int{}, Available: pool.IPv4.Free(), Prefixes: s.prefixes, FreeRuns: []api.FreeRun{},
	}
	slices.Sort(out.Clusters)
	s.held[api.HeldReserved] = pool.IPv4.Reserved
	out.Free = out.Size
	for _, h := range api.Holders() {
		out.Held[h] = s.held[h]
		out.Free -= s.held[h]
	}
	runs := w.rp.EC2.FreeRuns(w.r, w.sc, *rec.SubnetId)
	slices.SortStableFunc(runs, func(a, b ec2.FreeRun) int { return cmp.Compare(b.Blocks, a.Blocks) })
	for i, run := range runs {
		out.FreePrefixes += run.Blocks
		if i < 3 {
			out.FreeRuns = append(out.FreeRuns, api.FreeRun{First: run.First.String(), Blocks: run.Blocks})
		}
	}
	for _, res := range pool.Reserved {
		typ := "explicit"
		if res.Prefixes {
			typ = "prefix"
		}
		if res.CIDR.Addr().Is4() {
			out.Reservations = append(out.Reservations, api.CIDRReservation{CIDR: res.CIDR.String(), Type: typ})
		}
	}
	slices.SortFunc(out.Reservations, func(a, b api.CIDRReservation) int { return cmp.Compare(a.CIDR, b.CIDR) })
	return out
}
