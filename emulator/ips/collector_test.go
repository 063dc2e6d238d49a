package ips

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// scrape returns what /metrics serves of the collector: values by name and labels,
// and the lines about help and type.
func scrape(t *testing.T, c prometheus.Collector) (values map[string]float64, about []string) {
	t.Helper()
	r := prometheus.NewPedanticRegistry() // which compares with what Describe says
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	values = map[string]float64{}
	for line := range strings.Lines(rec.Body.String()) {
		line = strings.ReplaceAll(strings.TrimSpace(line), `"`, "")
		if strings.HasPrefix(line, "#") {
			about = append(about, line)
			continue
		}
		at := strings.LastIndex(line, " ")
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		values[line[:at]] = v
	}
	return values, about
}

func TestCollector(t *testing.T) {
	w := newWorld(t)
	a := w.subnet("10.0.0.0/28")
	w.cluster("dev", a)
	node := w.node(a, "t3.small")
	refused := 0
	for _, name := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		if w.pod(node, name) != nil {
			refused++
		}
	}
	w.pools.Release(w.ctx, node, "1")
	w.settle(node)
	w.waiting["id-dev"] = []dataplane.WaitingPod{{Name: "7"}}
	if refused != 1 {
		t.Fatalf("%d pods got no address", refused)
	}
	values, about := scrape(t, NewCollector(w.Reporter))
	const of = "account=000000000000,cluster=dev,"
	on := of + "instance_id=" + node + ",node=ip-10-0-0-4.ec2.internal,"
	at := "{account=000000000000,availability_zone=us-east-1a,"
	for name, want := range map[string]float64{
		"awscni_eni_max{" + on + "region=us-east-1}":                                                                          3,
		"awscni_ip_max{" + on + "region=us-east-1}":                                                                           9,
		"awscni_eni_allocated{" + on + "region=us-east-1}":                                                                    2,
		"awscni_total_ip_addresses{" + on + "region=us-east-1}":                                                               6,
		"awscni_assigned_ip_addresses{" + on + "region=us-east-1}":                                                            5,
		"awscni_add_ip_req_count{" + on + "region=us-east-1}":                                                                 7,
		"awscni_del_ip_req_count{" + on + "reason=PodDeleted,region=us-east-1}":                                               1,
		"awscni_no_available_ip_addresses{" + on + "region=us-east-1}":                                                        1,
		"awscni_force_removed_enis{" + on + "region=us-east-1}":                                                               0,
		"ekslocal_pods_waiting_for_address{" + of + "region=us-east-1}":                                                       1,
		"ekslocal_subnet_available_addresses" + at + "region=us-east-1,subnet_id=" + a + ",vpc_id=" + w.vpc + "}":             3,
		"ekslocal_subnet_free_prefixes" + at + "region=us-east-1,subnet_id=" + a + ",vpc_id=" + w.vpc + "}":                   0,
		"ekslocal_subnet_held_addresses" + at + "kind=pod-cooling,region=us-east-1,subnet_id=" + a + ",vpc_id=" + w.vpc + "}": 1,
		"ekslocal_subnet_held_addresses" + at + "kind=reserved,region=us-east-1,subnet_id=" + a + ",vpc_id=" + w.vpc + "}":    5,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s = %v, %t; want %v", name, got, ok, want)
		}
	}
	sum, series := 0.0, 0
	for name, v := range values {
		if strings.HasPrefix(name, "awscni_assigned_ip_per_eni{") {
			sum, series = sum+v, series+1
		}
	}
	if sum != 5 || series != 2 {
		t.Errorf("awscni_assigned_ip_per_eni: %v in %d interfaces", sum, series)
	}
	shortage := ""
	for name, v := range values {
		if strings.HasPrefix(name, "awscni_aws_api_error_count{") && strings.Contains(name, "error=InsufficientFreeAddressesInSubnet") && v > 0 {
			shortage = name
		}
	}
	if shortage == "" {
		t.Errorf("no count of EC2's refusal in %v", slices.Sorted(maps.Keys(values)))
	}
	for _, want := range []string{
		"# HELP awscni_eni_max The maximum number of ENIs that can be attached to the instance, accounting for unmanaged ENIs",
		"# TYPE awscni_eni_max gauge", "# TYPE awscni_add_ip_req_count counter",
	} {
		if !slices.Contains(about, want) {
			t.Errorf("no line %q", want)
		}
	}
}

// TestEveryCounterIsExposed fills every counter that a pool can have.
func TestEveryCounterIsExposed(t *testing.T) {
	w := newWorld(t)
	a := w.subnet("10.0.0.0/28")
	w.cluster("dev", a)
	w.node(a, "t3.small")
	by := func(n int) map[string]int { return map[string]int{"x": n} }
	view := ipamd.View{MaxENIs: 1, Counters: ipamd.Counters{
		AddIPRequests: 2, DelIPRequests: by(3), NoAvailableIPs: 4, ForceRemovedENIs: 5, ForceRemovedIPs: 6, Reconciles: by(7), Errors: by(8),
		InProgress: by(9), EC2Requests: by(10), EC2Errors: by(11), AWSAPIErrors: map[warmpool.APIError]int{{API: "CreateNetworkInterface", Error: "E"}: 12},
	}}
	w.Pool = func(string) (ipamd.View, bool) { return view, true }
	values, _ := scrape(t, NewCollector(w.Reporter))
	got := map[string]float64{}
	for name, v := range values {
		if base, _, _ := strings.Cut(name, "{"); strings.HasPrefix(base, "awscni_") && v > 0 {
			got[base] = v
		}
	}
	want := map[string]float64{
		"awscni_eni_max": 1, "awscni_add_ip_req_count": 2, "awscni_del_ip_req_count": 3, "awscni_no_available_ip_addresses": 4,
		"awscni_force_removed_enis": 5, "awscni_force_removed_ips": 6, "awscni_reconcile_count": 7, "awscni_ipamd_error_count": 8,
		"awscni_ipamd_action_inprogress": 9, "awscni_ec2api_req_count": 10, "awscni_ec2api_error_count": 11, "awscni_aws_api_error_count": 12,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
