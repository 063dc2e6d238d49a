//go:build linux

package awsnode

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// conflistName is the file that makes a node Ready.
const conflistName = "10-aws.conflist"

// conflist is the plugins' configuration. Source: amazon-vpc-cni-k8s, misc/10-aws.conflist.
// Port mappings need a plugin that is not ours: where the node's image has none there are
// none.
func conflist(env map[string]string, portmap bool) ([]byte, error) {
	get := func(name, otherwise string) string {
		if v := env[name]; v != "" {
			return v
		}
		return otherwise
	}
	mtu := get("POD_MTU", get("AWS_VPC_ENI_MTU", "9001"))
	logFile, level := get("AWS_VPC_K8S_PLUGIN_LOG_FILE", "/var/log/aws-routed-eni/plugin.log"), get("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "Debug")
	plugins := []any{
		map[string]any{
			"name": "aws-cni", "type": "aws-cni", "vethPrefix": get("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"), "mtu": mtu,
			"podSGEnforcingMode": get("POD_SECURITY_GROUP_ENFORCING_MODE", "strict"), "pluginLogFile": logFile, "pluginLogLevel": level,
		},
		map[string]any{
			"name": "egress-cni", "type": "egress-cni", "mtu": mtu, "enabled": "false", "randomizeSNAT": get("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
			"pluginLogFile": "/var/log/aws-routed-eni/egress-v6-plugin.log", "pluginLogLevel": level,
		},
	}
	if portmap {
		plugins = append(plugins, map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}, "snat": true})
	}
	return json.MarshalIndent(map[string]any{"cniVersion": "1.0.0", "name": "aws-cni", "disableCheck": true, "plugins": plugins}, "", "  ")
}

func writeConflist(cfg Config) error {
	_, err := os.Stat(filepath.Join(cfg.BinDir, "portmap"))
	raw, errMade := conflist(cfg.Env, err == nil)
	if errMade != nil {
		return errMade
	}
	// The runtime must not see half of it: it looks at the ends of names only.
	name := filepath.Join(cfg.ConfDir, conflistName)
	if err := os.WriteFile(name+".new", append(raw, '\n'), 0o644); err != nil { //nolint:gosec // everybody may read it
		return fmt.Errorf("%s: %w", conflistName, err)
	}
	return os.Rename(name+".new", name)
}
