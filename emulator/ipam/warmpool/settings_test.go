package warmpool_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

func TestInvalidSettings(t *testing.T) {
	s, _ := warmpool.ParseSettings(map[string]string{"ENABLE_IPv6": "true"})
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: s})
	if got := r.start(1); got != 0 || len(r.calls) != 0 {
		t.Errorf("a daemon that does not start gave %d addresses and called %v", got, r.calls)
	}
	if v := r.node.State(r.now); v.LastError == "" {
		t.Error("it does not say why")
	}
}

func TestParseSettings(t *testing.T) {
	base := warmpool.Settings{
		WarmENITarget: 1, MaxENI: -1, SubnetDiscovery: true, ManageUntagged: true, Cooldown: 30 * time.Second,
		ENIConfigLabel: "k8s.amazonaws.com/eniConfig", ENIConfigAnnotation: "k8s.amazonaws.com/eniConfig", LogLevel: "Debug",
	}
	for _, c := range []struct {
		env  map[string]string
		want func(*warmpool.Settings)
		says []string
	}{
		{nil, nil, nil},
		{map[string]string{"WARM_ENI_TARGET": "3", "WARM_IP_TARGET": "2", "MINIMUM_IP_TARGET": "10", "WARM_PREFIX_TARGET": "4", "MAX_ENI": "5"},
			func(s *warmpool.Settings) {
				s.WarmENITarget, s.WarmIPTarget, s.MinimumIPTarget, s.WarmPrefixTarget, s.MaxENI = 3, 2, 10, 4, 5
			}, nil},
		{map[string]string{"WARM_ENI_TARGET": "abc", "WARM_IP_TARGET": "abc", "MINIMUM_IP_TARGET": "1.5", "WARM_PREFIX_TARGET": "", "MAX_ENI": "many"}, nil, nil},
		{map[string]string{"WARM_ENI_TARGET": "-1", "WARM_IP_TARGET": "-2", "MINIMUM_IP_TARGET": "-9", "WARM_PREFIX_TARGET": "-1", "MAX_ENI": "0"}, nil, nil},
		{map[string]string{"WARM_IP_TARGET": "99999999999999999999", "MAX_ENI": "99999999999999999999"}, nil, nil},
		{map[string]string{"WARM_ENI_TARGET": "0"}, func(s *warmpool.Settings) { s.WarmENITarget = 0 }, nil},
		{map[string]string{"ENABLE_PREFIX_DELEGATION": "yes", "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG": "on", "ENABLE_SUBNET_DISCOVERY": "", "ENABLE_POD_ENI": ""}, nil, []string{
			`Failed to parse AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG; using default: false, err: strconv.ParseBool: parsing "on": invalid syntax`,
			"Failed to parse variable ENABLE_PREFIX_DELEGATION with value yes as boolean",
			"Failed to parse variable ENABLE_POD_ENI with value  as boolean",
		}},
		{map[string]string{"IP_COOLDOWN_PERIOD": "soon"}, nil, []string{"Failed to parse variable IP_COOLDOWN_PERIOD with value soon as integer"}},
		{map[string]string{"IP_COOLDOWN_PERIOD": "5", "ENABLE_SUBNET_DISCOVERY": "false", "AWS_VPC_K8S_CNI_LOG_FILE": "stdout", "AWS_VPC_K8S_CNI_LOGLEVEL": "WARN", "ENI_CONFIG_LABEL_DEF": "topology.kubernetes.io/zone"},
			func(s *warmpool.Settings) {
				s.Cooldown, s.SubnetDiscovery, s.LogToStdout, s.LogLevel, s.ENIConfigLabel = 5*time.Second, false, true, "WARN", "topology.kubernetes.io/zone"
			}, nil},
		{map[string]string{"ADDITIONAL_ENI_TAGS": `{"a":"b","k8s.amazonaws.com/x":"y"}`}, func(s *warmpool.Settings) { s.AdditionalTags = map[string]string{"a": "b"} },
			[]string{"ignoring tagKey k8s.amazonaws.com/x from additional ENI Tags as it contains reserved prefix k8s.amazonaws.com"}},
		{map[string]string{"ADDITIONAL_ENI_TAGS": `{`}, nil, []string{"failed to parse additional ENI Tags from env ADDITIONAL_ENI_TAGS due to unexpected end of JSON input"}},
		{map[string]string{"ENABLE_IPv4": "true", "ENABLE_IPv6": "true"}, func(s *warmpool.Settings) {
			s.IPv6, s.Invalid = true, "IPv4 and IPv6 are both enabled. VPC CNI currently does not support dual stack mode"
		}, []string{"IPv4 and IPv6 are both enabled. VPC CNI currently does not support dual stack mode"}},
		{map[string]string{"ENABLE_IPv4": "false", "ENABLE_IPv6": "true", "ENABLE_PREFIX_DELEGATION": "true"}, func(s *warmpool.Settings) { s.IPv6, s.PrefixDelegation = true, true }, nil},
	} {
		want := base
		if c.want != nil {
			c.want(&want)
		}
		got, says := warmpool.ParseSettings(c.env)
		if d := cmp.Diff(want, got, cmpopts.IgnoreFields(warmpool.Settings{}, "Notes")); d != "" {
			t.Errorf("%v: %s", c.env, d)
		}
		if d := cmp.Diff(c.says, says); d != "" {
			t.Errorf("%v: %s", c.env, d)
		}
		again, _ := warmpool.ParseSettings(c.env)
		if d := warmpool.Defaults(); !got.Equal(&again) || len(c.env) > 0 && c.want != nil && got.Equal(&d) {
			t.Errorf("%v: Equal", c.env)
		}
	}
}
