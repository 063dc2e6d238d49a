// Package ips reports who holds the addresses of the subnets: EC2's ledger joined
// with what the nodes' address daemons and the clusters know, for people and for
// Prometheus.
//
// How many addresses there are, and whose, is the ledger's word; the daemons only
// split those that are for pods. So the kinds of a subnet always add up, whatever
// happens between the looks at the two.
package ips

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"k8s.io/utils/clock"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

// Reporter makes reports.
type Reporter struct {
	Store *store.Store
	EC2   *ec2.Service
	Clock clock.PassiveClock
	// Pool is ipamd.Pools' View.
	Pool func(instanceID string) (ipamd.View, bool)
	// ClusterOf is the name of the cluster that an instance is a node of, empty for
	// others.
	ClusterOf func(*ec2.Instance) string
	// Waiting lists the pods of a cluster that wait for an address.
	Waiting func(clusterID string) []dataplane.WaitingPod
	// PodAt is namespace/name of the cluster's pod with an address of its own, empty
	// for none.
	PodAt func(clusterID string, ip netip.Addr) string
}

// Report answers a query. A query that fits nothing there is an *api.Error.
func (rp *Reporter) Report(q api.AddressQuery) (api.AddressUse, error) {
	if err := check(q); err != nil {
		return api.AddressUse{}, err
	}
	out := api.AddressUse{Time: rp.Clock.Now().UTC()}
	var err error
	rp.Store.View(func(r store.Reader) {
		clusters := clustersFor(r, q)
		if q.Cluster != "" && len(clusters) == 0 {
			err = noCluster(r, q)
			return
		}
		for _, sc := range rp.scopes(clusters, q) {
			w := rp.walk(r, sc, clusters)
			out.Subnets = append(out.Subnets, w.report(q.Cluster != "")...)
			out.Nodes = append(out.Nodes, w.nodes...)
		}
		for _, c := range clusters {
			out.Waiting = append(out.Waiting, rp.waiting(c)...)
		}
	})
	return out, err
}

// check refuses what can fit nothing anywhere.
func check(q api.AddressQuery) error {
	bad := func(format string, args ...any) error {
		return &api.Error{StatusCode: 400, Code: "InvalidQuery", Message: fmt.Sprintf(format, args...)}
	}
	if q.Account != "" && (len(q.Account) != 12 || strings.Trim(q.Account, "0123456789") != "") {
		return bad("%q is not an AWS account id of 12 digits", q.Account)
	}
	if q.Region != "" {
		if _, ok := regions.Get(q.Region); !ok {
			return bad("there is no region %q", q.Region)
		}
	}
	return nil
}

func clustersFor(r store.Reader, q api.AddressQuery) []*eks.Cluster {
	return slices.DeleteFunc(eks.Clusters.ListAll(r), func(c *eks.Cluster) bool {
		return q.Cluster != "" && *c.Resource.Name != q.Cluster || !inScope(c.Scope, q)
	})
}

func inScope(sc awsid.Scope, q api.AddressQuery) bool {
	return (q.Region == "" || sc.Region == q.Region) && (q.Account == "" || sc.Account == q.Account)
}

// noCluster says what the user may have meant.
func noCluster(r store.Reader, q api.AddressQuery) error {
	where := ""
	if q.Region != "" {
		where += " in " + q.Region
	}
	if q.Account != "" {
		where += " of account " + q.Account
	}
	there := "there is none at all"
	var names []string
	for _, c := range eks.Clusters.ListAll(r) {
		names = append(names, fmt.Sprintf("%s (%s, account %s)", *c.Resource.Name, c.Scope.Region, c.Scope.Account))
	}
	if len(names) > 0 {
		there = "there is " + strings.Join(names, ", ")
	}
	return &api.Error{StatusCode: 404, Code: "ClusterNotFound", Message: fmt.Sprintf("there is no cluster %q%s: %s", q.Cluster, where, there)}
}

// scopes are where to look: with a cluster, only where it is.
func (rp *Reporter) scopes(clusters []*eks.Cluster, q api.AddressQuery) []awsid.Scope {
	found := map[awsid.Scope]bool{}
	for _, c := range clusters {
		found[c.Scope] = true
	}
	if q.Cluster == "" {
		for _, sc := range rp.EC2.Scopes() {
			if inScope(sc, q) {
				found[sc] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b awsid.Scope) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
}

func (rp *Reporter) waiting(c *eks.Cluster) []api.WaitingPod {
	var out []api.WaitingPod
	for _, p := range rp.Waiting(c.ID) {
		out = append(out, api.WaitingPod{
			Account: c.Scope.Account, Region: c.Scope.Region, Cluster: aws.ToString(c.Resource.Name), Namespace: p.Namespace, Name: p.Name,
			Node: p.Node, Since: p.Since.UTC(), RetryAt: p.RetryAt.UTC(), Message: p.Message,
		})
	}
	return out
}
