package ipamd

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of the MTU that the entry point takes.
const (
	minMTUv4, minMTUv6, maxMTU = 576, 1280, 9001
)

// Refusal is what the entry point of aws-node says about an environment before it
// starts the daemon, when that ends the container; empty if it does not. Source:
// amazon-vpc-cni-k8s, cmd/aws-vpc-cni/main.go.
func Refusal(env map[string]string) string {
	if env["AWS_VPC_K8S_PLUGIN_LOG_FILE"] == "stdout" {
		return "AWS_VPC_K8S_PLUGIN_LOG_FILE cannot be set to stdout"
	}
	get := func(name, otherwise string) string {
		if v, set := env[name]; set {
			return v
		}
		return otherwise
	}
	switch veth := get("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"); {
	case len(veth) > 4:
		return "AWS_VPC_K8S_CNI_VETHPREFIX cannot be longer than 4 characters"
	case veth == "eth" || veth == "vlan" || veth == "lo":
		return "AWS_VPC_K8S_CNI_VETHPREFIX cannot be set to reserved values 'eth', 'vlan', or 'lo'"
	}
	if mode := get("POD_SECURITY_GROUP_ENFORCING_MODE", "strict"); truth(env, "ENABLE_POD_ENI") && mode != "strict" && mode != "standard" {
		return "POD_SECURITY_GROUP_ENFORCING_MODE must be set to either 'strict' or 'standard'"
	}
	if s, set := env["IP_COOLDOWN_PERIOD"]; set {
		if n, err := strconv.Atoi(s); err != nil || n < 0 {
			return fmt.Sprintf("IP_COOLDOWN_PERIOD MUST be a valid positive integer. %s is invalid", s)
		}
	}
	for _, name := range []string{"AWS_VPC_ENI_MTU", "POD_MTU"} {
		if why := refusalOfMTU(name, get(name, "9001"), truth(env, "ENABLE_IPv6")); why != "" {
			return why
		}
	}
	// The entry point compares them as words, which comes to the same above zero.
	positive := func(name string) bool { return get(name, "0") > "0" }
	if truth(env, "ENABLE_PREFIX_DELEGATION") && !positive("WARM_IP_TARGET") && !positive("WARM_PREFIX_TARGET") && !positive("MINIMUM_IP_TARGET") {
		return "Setting WARM_PREFIX_TARGET = 0 is not supported while WARM_IP_TARGET/MINIMUM_IP_TARGET is not set. Please configure either one of the WARM_{PREFIX/IP}_TARGET or MINIMUM_IP_TARGET env variables"
	}
	return ""
}

func refusalOfMTU(name, value string, v6 bool) string {
	n, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return fmt.Sprintf("%s MUST be a valid integer. %s is invalid", name, value)
	case v6 && (n < minMTUv6 || n > maxMTU):
		return fmt.Sprintf("%s cannot be less than 1280 or greater than 9001 in IPv6. %s is invalid", name, value)
	case !v6 && (n < minMTUv4 || n > maxMTU):
		return fmt.Sprintf("%s cannot be less than 576 or greater than 9001 in IPv4. %s is invalid", name, value)
	}
	return ""
}

// truth reads a boolean as the CNI does; anything that is none is false.
func truth(env map[string]string, name string) bool {
	b, err := strconv.ParseBool(env[name])
	return err == nil && b
}

// PluginAddress is where the plugin of a version of the CNI calls the daemon: a unix
// socket since 1.23.
func PluginAddress(version string) string {
	var major, minor int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &major, &minor); err == nil && (major > 1 || major == 1 && minor >= 23) {
		return "unix /var/run/aws-node/ipamd.sock"
	}
	return "tcp 127.0.0.1:50051"
}
