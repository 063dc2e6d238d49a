package userdata

import (
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// nodeConfig is the part of nodeadm's API (v1alpha1) that is read here.
type nodeConfig struct {
	Kind string `json:"kind"`
	Spec struct {
		Kubelet struct {
			Config struct {
				MaxPods int `json:"maxPods"`
			} `json:"config"`
			MaxPodsExpression string   `json:"maxPodsExpression"`
			Flags             []string `json:"flags"`
		} `json:"kubelet"`
	} `json:"spec"`
}

func (c *Config) readNodeConfig(body []byte) {
	for doc := range strings.SplitSeq("\n"+string(body), "\n---") {
		var n nodeConfig
		if yaml.Unmarshal([]byte(doc), &n) != nil || n.Kind != "NodeConfig" {
			continue
		}
		k := n.Spec.Kubelet
		if k.MaxPodsExpression != "" {
			c.MaxPodsExpression = k.MaxPodsExpression
		}
		if k.Config.MaxPods > 0 {
			c.MaxPods = k.Config.MaxPods
		}
		for _, f := range k.Flags { // kubelet's flags go before its file
			c.readFlags(f)
		}
	}
}

// maxPodsFlag is kubelet's, wherever it is in a command line.
var maxPodsFlag = regexp.MustCompile(`--max-pods[= ]["']?(\d+)`)

func (c *Config) readFlags(flags string) {
	for _, m := range maxPodsFlag.FindAllStringSubmatch(flags, -1) {
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			c.MaxPods = n
		}
	}
}

// readScript looks for the flag in the calls of bootstrap.sh. --use-max-pods alone
// says nothing of the number: without it the kubelet has its own default.
func (c *Config) readScript(script string) {
	script = strings.ReplaceAll(script, "\\\n", " ")
	for line := range strings.SplitSeq(script, "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || !strings.Contains(line, "/etc/eks/bootstrap.sh") {
			continue
		}
		if useMaxPods.MatchString(line) {
			c.MaxPods = kubeletMaxPods
		}
		c.readFlags(line)
	}
}

// kubeletMaxPods is kubelet's default.
const kubeletMaxPods = 110

var useMaxPods = regexp.MustCompile(`--use-max-pods[= ]["']?false`)

// readTOML reads max-pods of Bottlerocket's table settings.kubernetes.
func (c *Config) readTOML(text string) {
	table := ""
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = strings.ReplaceAll(strings.Trim(line, "[] \t"), "\"", "")
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		full := strings.ReplaceAll(strings.TrimSpace(name), "\"", "")
		if table != "" {
			full = table + "." + full
		}
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil && n > 0 && full == "settings.kubernetes.max-pods" {
			c.MaxPods = n
		}
	}
}
