package ips

import (
	"github.com/prometheus/client_golang/prometheus"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
)

// Collector exposes the awscni_* metrics that aws-node has on each node, told apart
// by labels, and what the subnets hold. All of it is read when it is asked for.
//
// Not there: awscni_aws_api_latency_ms, awscni_ipamd_startup_duration_seconds and
// their like, which would measure the emulator, not AWS; awscni_assigned_ip_per_cidr,
// which without prefixes is a series for each pod.
//
// Source of names, help texts and labels: amazon-vpc-cni-k8s v1.23.1,
// utils/prometheusmetrics/prometheusmetrics.go.
type Collector struct{ reporter *Reporter }

// NewCollector returns a collector of everything that rp sees.
func NewCollector(rp *Reporter) *Collector { return &Collector{rp} }

var nodeLabels = []string{"account", "region", "cluster", "node", "instance_id"}

func nodeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append(append([]string(nil), nodeLabels...), labels...), nil)
}

// metric is one of aws-node's: values are the samples with upstream's own labels.
type metric struct {
	desc   *prometheus.Desc
	typ    prometheus.ValueType
	values func(v *ipamd.View, add func(value int, labels ...string))
}

func gauge(name, help string, of func(v *ipamd.View) int) metric {
	return metric{nodeDesc(name, help), prometheus.GaugeValue, func(v *ipamd.View, add func(int, ...string)) { add(of(v)) }}
}

func counter(name, help string, of func(c *ipamd.Counters) int) metric {
	return metric{nodeDesc(name, help), prometheus.CounterValue, func(v *ipamd.View, add func(int, ...string)) { add(of(&v.Counters)) }}
}

func counters(typ prometheus.ValueType, name, help, label string, of func(c *ipamd.Counters) map[string]int) metric {
	return metric{nodeDesc(name, help, label), typ, func(v *ipamd.View, add func(int, ...string)) {
		for value, n := range of(&v.Counters) {
			add(n, value)
		}
	}}
}

var nodeMetrics = []metric{
	gauge("awscni_eni_max", "The maximum number of ENIs that can be attached to the instance, accounting for unmanaged ENIs",
		func(v *ipamd.View) int { return v.MaxENIs }),
	gauge("awscni_ip_max", "The maximum number of IP addresses that can be allocated to the instance",
		func(v *ipamd.View) int { return v.MaxIPs }),
	gauge("awscni_eni_allocated", "The number of ENIs allocated", func(v *ipamd.View) int { return len(v.ENIs) }),
	gauge("awscni_total_ip_addresses", "The total number of IP addresses", total),
	gauge("awscni_assigned_ip_addresses", "The number of IP addresses assigned to pods", assigned),
	gauge("awscni_total_ipv4_prefixes", "The total number of IPv4 prefixes", func(v *ipamd.View) int { return v.Prefixes }),
	{nodeDesc("awscni_assigned_ip_per_eni", "The number of allocated ips partitioned by eni", "eni"), prometheus.GaugeValue,
		func(v *ipamd.View, add func(int, ...string)) {
			for _, e := range v.ENIs {
				add(e.Assigned, e.ID)
			}
		}},
	counter("awscni_add_ip_req_count", "The number of add IP address requests", func(c *ipamd.Counters) int { return c.AddIPRequests }),
	counters(prometheus.CounterValue, "awscni_del_ip_req_count", "The number of delete IP address requests", "reason",
		func(c *ipamd.Counters) map[string]int { return c.DelIPRequests }),
	counter("awscni_no_available_ip_addresses", "The number of pod IP assignments that fail due to no available IP addresses",
		func(c *ipamd.Counters) int { return c.NoAvailableIPs }),
	counter("awscni_force_removed_enis", "The number of ENIs force removed while they had assigned pods",
		func(c *ipamd.Counters) int { return c.ForceRemovedENIs }),
	counter("awscni_force_removed_ips", "The number of IPs force removed while they had assigned pods",
		func(c *ipamd.Counters) int { return c.ForceRemovedIPs }),
	counters(prometheus.CounterValue, "awscni_reconcile_count", "The number of times ipamd reconciles on ENIs and IP/Prefix addresses", "fn",
		func(c *ipamd.Counters) map[string]int { return c.Reconciles }),
	counters(prometheus.CounterValue, "awscni_ipamd_error_count", "The number of errors encountered in ipamd", "fn",
		func(c *ipamd.Counters) map[string]int { return c.Errors }),
	counters(prometheus.GaugeValue, "awscni_ipamd_action_inprogress", "The number of ipamd actions in progress", "fn",
		func(c *ipamd.Counters) map[string]int { return c.InProgress }),
	counters(prometheus.CounterValue, "awscni_ec2api_req_count", "The number of requests made to EC2 APIs by CNI", "fn",
		func(c *ipamd.Counters) map[string]int { return c.EC2Requests }),
	counters(prometheus.CounterValue, "awscni_ec2api_error_count", "The number of failed EC2 APIs requests", "fn",
		func(c *ipamd.Counters) map[string]int { return c.EC2Errors }),
	{nodeDesc("awscni_aws_api_error_count", "The number of times AWS API returns an error", "api", "error"), prometheus.CounterValue,
		func(v *ipamd.View, add func(int, ...string)) {
			for e, n := range v.Counters.AWSAPIErrors {
				add(n, e.API, e.Error)
			}
		}},
}

// total and assigned count single addresses and those of prefixes, whichever of the
// two the settings ask for now, as upstream does.
func total(v *ipamd.View) int {
	if v.Settings.IPv6 {
		return v.Total
	}
	n := 0
	for _, e := range v.ENIs {
		n += len(e.Addresses)
		for _, p := range e.Prefixes {
			if p.Addr().Is4() {
				n += prefixSize
			}
		}
	}
	return n
}

func assigned(v *ipamd.View) int {
	n := 0
	for _, e := range v.ENIs {
		n += e.Assigned
	}
	return n
}

var (
	subnetLabels = []string{"account", "region", "vpc_id", "subnet_id", "availability_zone"}

	descHeld = prometheus.NewDesc("ekslocal_subnet_held_addresses", "IPv4 addresses of a subnet that are not free, by the kind of who holds them",
		append(append([]string(nil), subnetLabels...), "kind"), nil)
	descAvailable = prometheus.NewDesc("ekslocal_subnet_available_addresses", "Free IPv4 addresses of a subnet: its AvailableIpAddressCount", subnetLabels, nil)
	descBlocks    = prometheus.NewDesc("ekslocal_subnet_free_prefixes", "Free, aligned /28 blocks of a subnet", subnetLabels, nil)
	descWaiting   = prometheus.NewDesc("ekslocal_pods_waiting_for_address", "Pods whose sandbox cannot be made for want of an address",
		[]string{"account", "region", "cluster"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range nodeMetrics {
		out <- m.desc
	}
	for _, d := range []*prometheus.Desc{descHeld, descAvailable, descBlocks, descWaiting} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	use, err := c.reporter.Report(api.AddressQuery{})
	if err != nil {
		out <- prometheus.NewInvalidMetric(descHeld, err)
		return
	}
	for i := range use.Nodes {
		c.node(&use.Nodes[i], out)
	}
	for _, s := range use.Subnets {
		labels := []string{s.Account, s.Region, s.VPC, s.ID, s.Zone}
		for _, h := range api.Holders() {
			out <- sample(descHeld, prometheus.GaugeValue, s.Held[h], append(labels[:len(labels):len(labels)], string(h)))
		}
		out <- sample(descAvailable, prometheus.GaugeValue, s.Available, labels)
		out <- sample(descBlocks, prometheus.GaugeValue, s.FreePrefixes, labels)
	}
	waiting := map[[3]string]int{}
	for _, n := range use.Nodes { // clusters without a waiting pod have a 0
		waiting[[3]string{n.Account, n.Region, n.Cluster}] = 0
	}
	for _, p := range use.Waiting {
		waiting[[3]string{p.Account, p.Region, p.Cluster}]++
	}
	for at, n := range waiting {
		out <- sample(descWaiting, prometheus.GaugeValue, n, at[:])
	}
}

func (c *Collector) node(n *api.NodePool, out chan<- prometheus.Metric) {
	v, ok := c.reporter.Pool(n.InstanceID)
	if !ok {
		return
	}
	labels := []string{n.Account, n.Region, n.Cluster, n.Name, n.InstanceID}
	for _, m := range nodeMetrics {
		m.values(&v, func(value int, more ...string) {
			out <- sample(m.desc, m.typ, value, append(labels[:len(labels):len(labels)], more...))
		})
	}
}

func sample(d *prometheus.Desc, t prometheus.ValueType, value int, labels []string) prometheus.Metric {
	m, err := prometheus.NewConstMetric(d, t, float64(value), labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(d, err)
	}
	return m
}
