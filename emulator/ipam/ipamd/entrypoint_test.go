package ipamd

import "testing"

func TestRefusal(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		want string
	}{
		{"nothing", nil, ""},
		{"the manifest's", map[string]string{"AWS_VPC_ENI_MTU": "9001", "AWS_VPC_K8S_CNI_VETHPREFIX": "eni", "WARM_PREFIX_TARGET": "1", "ENABLE_PREFIX_DELEGATION": "true"}, ""},
		{"targets that are none, which ipamd itself passes over", map[string]string{"WARM_IP_TARGET": "many", "WARM_ENI_TARGET": "-3"}, ""},
		{"plugin log", map[string]string{"AWS_VPC_K8S_PLUGIN_LOG_FILE": "stdout"}, "AWS_VPC_K8S_PLUGIN_LOG_FILE cannot be set to stdout"},
		{"long prefix", map[string]string{"AWS_VPC_K8S_CNI_VETHPREFIX": "eniii"}, "AWS_VPC_K8S_CNI_VETHPREFIX cannot be longer than 4 characters"},
		{"reserved prefix", map[string]string{"AWS_VPC_K8S_CNI_VETHPREFIX": "lo"}, "AWS_VPC_K8S_CNI_VETHPREFIX cannot be set to reserved values 'eth', 'vlan', or 'lo'"},
		{"mode", map[string]string{"ENABLE_POD_ENI": "true", "POD_SECURITY_GROUP_ENFORCING_MODE": "lax"}, "POD_SECURITY_GROUP_ENFORCING_MODE must be set to either 'strict' or 'standard'"},
		{"mode without pod ENIs", map[string]string{"POD_SECURITY_GROUP_ENFORCING_MODE": "lax"}, ""},
		{"cooldown", map[string]string{"IP_COOLDOWN_PERIOD": "30s"}, "IP_COOLDOWN_PERIOD MUST be a valid positive integer. 30s is invalid"},
		{"negative cooldown", map[string]string{"IP_COOLDOWN_PERIOD": "-1"}, "IP_COOLDOWN_PERIOD MUST be a valid positive integer. -1 is invalid"},
		{"MTU", map[string]string{"AWS_VPC_ENI_MTU": "x"}, "AWS_VPC_ENI_MTU MUST be a valid integer. x is invalid"},
		{"small MTU", map[string]string{"POD_MTU": "575"}, "POD_MTU cannot be less than 576 or greater than 9001 in IPv4. 575 is invalid"},
		{"small MTU, IPv6", map[string]string{"AWS_VPC_ENI_MTU": "1279", "ENABLE_IPv6": "true"}, "AWS_VPC_ENI_MTU cannot be less than 1280 or greater than 9001 in IPv6. 1279 is invalid"},
		{"prefixes without a target", map[string]string{"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "0"},
			"Setting WARM_PREFIX_TARGET = 0 is not supported while WARM_IP_TARGET/MINIMUM_IP_TARGET is not set. Please configure either one of the WARM_{PREFIX/IP}_TARGET or MINIMUM_IP_TARGET env variables"},
	} {
		if got := Refusal(tc.env); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestPluginAddress(t *testing.T) {
	for version, want := range map[string]string{
		"v1.22.4": "tcp 127.0.0.1:50051", "v1.23.0": "unix /var/run/aws-node/ipamd.sock", "v2.0.0": "unix /var/run/aws-node/ipamd.sock", "": "tcp 127.0.0.1:50051",
	} {
		if got := PluginAddress(version); got != want {
			t.Errorf("%s: %s", version, got)
		}
	}
}
