package ips

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
)

// member is an instance that is a cluster's node.
type member struct {
	rec     *ec2.Instance
	cluster string
	view    ipamd.View
	started bool
	enis    map[string]*ipamd.ENIView
	found   []api.Interface // what EC2 says it has
	sum     shares          // of all of them
}

// findMembers asks the daemons of all nodes, also of clusters that are not chosen:
// they may hold addresses in the same subnets.
func (w *walk) findMembers() {
	for _, i := range ec2.Instances.List(w.r, w.sc) {
		name := w.rp.ClusterOf(i)
		if name == "" || eks.Clusters.Get(w.r, w.sc, name) == nil || i.State == nil || i.State.Name == ec2types.InstanceStateNameTerminated {
			continue
		}
		m := &member{rec: i, cluster: name, enis: map[string]*ipamd.ENIView{}}
		m.view, m.started = w.rp.Pool(*i.InstanceId)
		for j := range m.view.ENIs {
			m.enis[m.view.ENIs[j].ID] = &m.view.ENIs[j]
		}
		w.members[*i.InstanceId] = m
	}
}

// shares is what an interface's addresses for pods are split into.
type shares struct{ assigned, cooling, warm, unused int }

// split divides the n addresses that the ledger says an interface has for pods by
// what the daemon knows of them. What it knows may be older or newer: it is cut to
// n. Addresses that it does not know of yet are as good as warm.
func (m *member) split(u ec2.InterfaceUse, n int) shares {
	at := api.Interface{ID: u.InterfaceID, Subnet: u.SubnetID, Address: u.Primary, Addresses: n}
	var s shares
	if v := m.enis[u.InterfaceID]; v != nil {
		s.assigned = min(v.Assigned, n)
		s.cooling = min(v.Cooling, n-s.assigned)
		for _, p := range v.Prefixes {
			if p.Addr().Is4() {
				at.Prefixes = append(at.Prefixes, p.String())
			}
		}
		switch {
		case v.Trunk:
			at.Use = "trunk"
		case v.Excluded:
			at.Use = "excluded"
		}
	}
	if at.Use == "" {
		s.warm = n - s.assigned - s.cooling
	} else {
		s.unused = n - s.assigned - s.cooling
	}
	at.Assigned, at.Cooling = s.assigned, s.cooling
	m.found = append(m.found, at)
	m.sum.assigned, m.sum.cooling, m.sum.warm = m.sum.assigned+s.assigned, m.sum.cooling+s.cooling, m.sum.warm+s.warm
	return s
}

// listNodes shows the members of the chosen clusters.
func (w *walk) listNodes() {
	for _, m := range w.members {
		if slices.ContainsFunc(w.clusters, func(c *eks.Cluster) bool { return *c.Resource.Name == m.cluster }) {
			w.nodes = append(w.nodes, m.pool(w))
		}
	}
	slices.SortFunc(w.nodes, func(a, b api.NodePool) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Name, b.Name), cmp.Compare(a.InstanceID, b.InstanceID))
	})
}

func (m *member) pool(w *walk) api.NodePool {
	v := &m.view
	out := api.NodePool{
		Account: w.sc.Account, Region: w.sc.Region, Cluster: m.cluster, Name: aws.ToString(m.rec.PrivateDnsName),
		InstanceID: *m.rec.InstanceId, InstanceType: string(m.rec.InstanceType), Started: m.started, Interfaces: m.found, Settings: []string{},
	}
	if out.Interfaces == nil {
		out.Interfaces = []api.Interface{}
	}
	slices.SortFunc(out.Interfaces, func(a, b api.Interface) int {
		return cmp.Or(cmp.Compare(m.device(a.ID), m.device(b.ID)), cmp.Compare(a.ID, b.ID))
	})
	if len(v.ENIs) == 0 { // also while the daemon starts again it knows them
		return out
	}
	out.MaxInterfaces, out.MaxAddresses, out.Prefixes = v.MaxENIs, v.MaxIPs, v.Prefixes
	out.Assigned, out.Cooling, out.Warm = m.sum.assigned, m.sum.cooling, m.sum.warm
	if v.Settings.IPv6 { // which the ledger's part, about IPv4, says nothing of
		out.Assigned, out.Cooling, out.Warm = v.Assigned, v.Cooling, max(v.Total-v.Assigned-v.Cooling, 0)
	}
	out.Total = out.Assigned + out.Cooling + out.Warm
	out.Settings, out.LastError = InForce(&v.Settings), v.LastError
	if v.RetryAt.After(w.rp.Clock.Now()) {
		at := v.RetryAt.UTC()
		out.RetryAt = &at
	}
	return out
}

// device orders interfaces as they are attached; unknown ones are last.
func (m *member) device(id string) int {
	if v := m.enis[id]; v != nil {
		return v.Device
	}
	return 1 << 16
}

// InForce names the knobs that decide how a pool grows, as the environment of
// aws-node has them: the warm targets that count with these settings, then whatever
// else is not as the manifests have it.
func InForce(s *ipamd.Settings) []string {
	var out []string
	add := func(name string, value any) { out = append(out, fmt.Sprint(name, "=", value)) }
	if s.PrefixDelegation {
		add("ENABLE_PREFIX_DELEGATION", true)
	}
	switch {
	case s.WarmIPTarget != 0 || s.MinimumIPTarget != 0: // they overrule the others
		if s.WarmIPTarget != 0 {
			add("WARM_IP_TARGET", s.WarmIPTarget)
		}
		if s.MinimumIPTarget != 0 {
			add("MINIMUM_IP_TARGET", s.MinimumIPTarget)
		}
	case s.PrefixDelegation:
		add("WARM_PREFIX_TARGET", s.WarmPrefixTarget)
	default:
		add("WARM_ENI_TARGET", s.WarmENITarget)
	}
	if s.MaxENI > 0 {
		add("MAX_ENI", s.MaxENI)
	}
	for _, f := range []struct {
		name     string
		on, said bool
	}{
		{"AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", s.CustomNetworking, true},
		{"ENABLE_POD_ENI", s.PodENI, true},
		{"ENABLE_SUBNET_DISCOVERY", !s.SubnetDiscovery, false},
		{"ENABLE_IPv6", s.IPv6, true},
		{"MANAGE_UNTAGGED_ENI", !s.ManageUntagged, false},
		{"DISABLE_NETWORK_RESOURCE_PROVISIONING", s.DisableProvisioning, true},
	} {
		if f.on {
			add(f.name, f.said)
		}
	}
	if s.Cooldown != 30*time.Second {
		add("IP_COOLDOWN_PERIOD", int(s.Cooldown/time.Second))
	}
	if s.Invalid != "" {
		out = append(out, "ipamd does not start: "+strings.TrimSuffix(s.Invalid, "."))
	}
	return out
}
