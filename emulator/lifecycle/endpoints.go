package lifecycle

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	ec2svc "github.com/ekslocal/ekslocal/emulator/service/ec2"
	ekssvc "github.com/ekslocal/ekslocal/emulator/service/eks"
)

// apiEndpoints are the endpoints of the service default/kubernetes: the addresses
// of the control plane's interfaces, as on EKS. Of a kind cluster they are the API
// server's own affair: real pods go there.
func (l *Lifecycle) apiEndpoints(c *ekssvc.Cluster) []unstructured.Unstructured {
	if c.Backend == ekssvc.BackendKind {
		return nil
	}
	var legacy, slice []any
	for _, id := range c.Interfaces {
		ni := ec2svc.NetworkInterfaces.Get(l.Store, c.Scope, id)
		ip := addressOf(c, ni)
		if ip == "" {
			continue
		}
		legacy = append(legacy, map[string]any{"ip": ip})
		slice = append(slice, map[string]any{"addresses": []any{ip}, "conditions": map[string]any{"ready": true}})
	}
	if len(slice) == 0 {
		return nil
	}
	family := "IPv4"
	if ekssvc.IsIPv6(c) {
		family = "IPv6"
	}
	port := map[string]any{"name": "https", "port": int64(443), "protocol": "TCP"}
	object := func(version, kind string, labels map[string]any, more map[string]any) unstructured.Unstructured {
		o := map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{
			"name": "kubernetes", "namespace": metav1.NamespaceDefault, "labels": labels,
		}}
		for k, v := range more {
			o[k] = v
		}
		return unstructured.Unstructured{Object: o}
	}
	return []unstructured.Unstructured{
		object("v1", "Endpoints", map[string]any{"endpointslice.kubernetes.io/skip-mirror": "true"},
			map[string]any{"subsets": []any{map[string]any{"addresses": legacy, "ports": []any{port}}}}),
		object("discovery.k8s.io/v1", "EndpointSlice", map[string]any{"kubernetes.io/service-name": "kubernetes"},
			map[string]any{"addressType": family, "endpoints": slice, "ports": []any{port}}),
	}
}

// addressOf is an interface's address of the cluster's family, "" without one.
func addressOf(c *ekssvc.Cluster, ni *ec2svc.NetworkInterface) string {
	switch {
	case ni == nil:
		return ""
	case !ekssvc.IsIPv6(c):
		return aws.ToString(ni.PrivateIpAddress)
	case len(ni.Ipv6Addresses) == 0:
		return ""
	}
	return aws.ToString(ni.Ipv6Addresses[0].Ipv6Address)
}
