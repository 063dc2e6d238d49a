package warmpool

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings are ipamd's knobs, as the environment of the aws-node container gives
// them. The zero value is not the default: see Defaults.
type Settings struct {
	// WarmENITarget is how many interfaces' worth of addresses are kept free,
	// unless WarmIPTarget or MinimumIPTarget is set.
	WarmENITarget int
	// WarmIPTarget and MinimumIPTarget count addresses: free ones, and all. 0 means
	// unset: ipamd itself does not tell the two apart.
	WarmIPTarget    int
	MinimumIPTarget int
	// WarmPrefixTarget is how many free /28 prefixes are kept, with prefix
	// delegation only. ipamd's own default is 0, that of the manifests 1.
	WarmPrefixTarget int
	// MaxENI caps the interfaces; below 1 there is only the instance type's limit.
	MaxENI int

	PrefixDelegation bool
	CustomNetworking bool
	PodENI           bool
	SubnetDiscovery  bool
	IPv6             bool
	// ManageUntagged is whether interfaces that ipamd did not make give addresses
	// to pods, unless their tags say otherwise.
	ManageUntagged bool
	// ManageNonSchedulable lets a cordoned node have and free interfaces all the same.
	ManageNonSchedulable bool
	// DisableProvisioning leaves every interface as it is.
	DisableProvisioning bool

	// Cooldown is how long a released address is not given out again.
	Cooldown time.Duration

	ENIConfigLabel      string
	ENIConfigAnnotation string

	LogToStdout bool
	LogLevel    string

	AdditionalTags map[string]string

	// Invalid, if set, is why ipamd does not start with these settings.
	Invalid string
	// Notes is what ipamd logs as it reads its environment.
	Notes []Note
}

// Note is a line of ipamd's log.
type Note struct{ Level, Message string }

// Defaults are the settings of an empty environment.
func Defaults() Settings {
	s, _ := ParseSettings(nil)
	return s
}

// defaultENIConfigKey names a node's ENIConfig, as annotation and as label.
const defaultENIConfigKey = "k8s.amazonaws.com/eniConfig"

// ParseSettings reads the environment of aws-node as ipamd does, with its own
// fallback for each value that it cannot read. The second result is the lines that
// it logs about those; for the targets it logs none and takes the default.
//
// Sources: amazon-vpc-cni-k8s v1.23.1, pkg/ipamd/ipamd.go (getWarmENITarget and
// its like), utils/utils.go, pkg/awsutils/awsutils.go (loadAdditionalENITags).
func ParseSettings(env map[string]string) (Settings, []string) {
	e := environment{env: env}
	s := Settings{
		CustomNetworking:     e.looseBool("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", false),
		SubnetDiscovery:      e.looseBool("ENABLE_SUBNET_DISCOVERY", true),
		PrefixDelegation:     e.bool("ENABLE_PREFIX_DELEGATION", false),
		IPv6:                 e.bool("ENABLE_IPv6", false),
		WarmENITarget:        e.target("WARM_ENI_TARGET", 1),
		WarmIPTarget:         e.target("WARM_IP_TARGET", 0),
		MinimumIPTarget:      e.target("MINIMUM_IP_TARGET", 0),
		WarmPrefixTarget:     e.target("WARM_PREFIX_TARGET", 0),
		PodENI:               e.bool("ENABLE_POD_ENI", false),
		ManageNonSchedulable: e.looseBool("AWS_MANAGE_ENIS_NON_SCHEDULABLE", false),
		ManageUntagged:       e.bool("MANAGE_UNTAGGED_ENI", true),
		// Without EC2's API ipamd cannot provision either.
		DisableProvisioning: e.bool("ENABLE_IMDS_ONLY_MODE", false),
		MaxENI:              e.maxENI(),
		Cooldown:            e.cooldown(),
		ENIConfigLabel:      e.text("ENI_CONFIG_LABEL_DEF", defaultENIConfigKey),
		ENIConfigAnnotation: e.text("ENI_CONFIG_ANNOTATION_DEF", defaultENIConfigKey),
		LogToStdout:         strings.EqualFold(env["AWS_VPC_K8S_CNI_LOG_FILE"], "stdout"),
		LogLevel:            e.text("AWS_VPC_K8S_CNI_LOGLEVEL", "Debug"),
		AdditionalTags:      e.tags(),
	}
	if !s.DisableProvisioning {
		s.DisableProvisioning = e.bool("DISABLE_NETWORK_RESOURCE_PROVISIONING", false)
	}
	// ipamd's own default for IPv4 is off, that of every manifest is on: an
	// environment that says nothing is taken for a manifest's.
	s.Invalid = s.conflict(e.bool("ENABLE_IPv4", !s.IPv6))
	if s.Invalid != "" {
		e.fail("error", "%s", s.Invalid)
	}
	s.Notes = e.notes
	return s, e.failures
}

// conflict says why ipamd refuses the combination, in its words, or nothing.
func (s *Settings) conflict(ipv4 bool) string {
	switch {
	case ipv4 && s.IPv6:
		return "IPv4 and IPv6 are both enabled. VPC CNI currently does not support dual stack mode"
	case !ipv4 && !s.IPv6:
		return "IPv4 and IPv6 are both disabled. One of them have to be enabled"
	case s.IPv6 && (s.CustomNetworking || !s.PrefixDelegation):
		return "IPv6 is supported only in Prefix Delegation mode. Custom Networking is not supported in IPv6 mode. Please set the env variables accordingly."
	}
	return ""
}

// Equal tells whether ipamd would behave the same with both.
func (s *Settings) Equal(o *Settings) bool {
	a, b := *s, *o
	if !maps.Equal(a.AdditionalTags, b.AdditionalTags) || !slices.Equal(a.Notes, b.Notes) {
		return false
	}
	return a.WarmENITarget == b.WarmENITarget && a.WarmIPTarget == b.WarmIPTarget && a.MinimumIPTarget == b.MinimumIPTarget &&
		a.WarmPrefixTarget == b.WarmPrefixTarget && a.MaxENI == b.MaxENI && a.PrefixDelegation == b.PrefixDelegation &&
		a.CustomNetworking == b.CustomNetworking && a.PodENI == b.PodENI && a.SubnetDiscovery == b.SubnetDiscovery && a.IPv6 == b.IPv6 &&
		a.ManageUntagged == b.ManageUntagged && a.ManageNonSchedulable == b.ManageNonSchedulable && a.DisableProvisioning == b.DisableProvisioning && a.Cooldown == b.Cooldown &&
		a.ENIConfigLabel == b.ENIConfigLabel && a.ENIConfigAnnotation == b.ENIConfigAnnotation &&
		a.LogToStdout == b.LogToStdout && a.LogLevel == b.LogLevel && a.Invalid == b.Invalid
}

// warmIPTargets tells whether addresses are counted one by one.
func (s *Settings) warmIPTargets() bool { return s.WarmIPTarget != 0 || s.MinimumIPTarget != 0 }

// environment reads variables and collects what ipamd says about them.
type environment struct {
	env      map[string]string
	notes    []Note
	failures []string
}

func (e *environment) note(level, format string, args ...any) {
	e.notes = append(e.notes, Note{level, fmt.Sprintf(format, args...)})
}

func (e *environment) fail(level, format string, args ...any) {
	e.note(level, format, args...)
	e.failures = append(e.failures, fmt.Sprintf(format, args...))
}

func (e *environment) text(name, def string) string {
	if v := e.env[name]; v != "" {
		return v
	}
	return def
}

func (e *environment) bool(name string, def bool) bool {
	v, ok := e.env[name]
	if !ok {
		return def
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		e.fail("error", "Failed to parse variable %s with value %s as boolean", name, v)
		return def
	}
	return b
}

// looseBool reads one of the variables for which empty is unset.
func (e *environment) looseBool(name string, def bool) bool {
	v := e.env[name]
	if v == "" {
		return def
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		e.fail("warn", "Failed to parse %s; using default: %v, err: %v", name, def, err)
		return def
	}
	return b
}

// target reads one of the warm targets: what is not a number, or negative, is the
// default without a word.
func (e *environment) target(name string, def int) int {
	v, ok := e.env[name]
	if !ok {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return def
	}
	e.note("debug", "Using %s %v", name, n)
	return n
}

func (e *environment) maxENI() int {
	n, err := strconv.Atoi(e.env["MAX_ENI"])
	if err != nil || n < 1 {
		return -1
	}
	e.note("debug", "Using MAX_ENI %v", n)
	return n
}

// cooldown reads IP_COOLDOWN_PERIOD. ipamd takes negative and overflowing values
// as they come.
func (e *environment) cooldown() time.Duration {
	const name, def = "IP_COOLDOWN_PERIOD", 30
	v, ok := e.env[name]
	if !ok {
		return def * time.Second
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		e.fail("error", "Failed to parse variable %s with value %s as integer", name, v)
		return def * time.Second
	}
	return time.Duration(n) * time.Second
}

func (e *environment) tags() map[string]string {
	const name, reserved = "ADDITIONAL_ENI_TAGS", "k8s.amazonaws.com"
	v := e.env[name]
	if v == "" {
		return nil
	}
	var tags map[string]string
	if err := json.Unmarshal([]byte(v), &tags); err != nil {
		e.fail("warn", "failed to parse additional ENI Tags from env %v due to %v", name, err)
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if strings.Contains(k, reserved) {
			e.fail("warn", "ignoring tagKey %v from additional ENI Tags as it contains reserved prefix %v", k, reserved)
			delete(tags, k)
		}
	}
	return tags
}
