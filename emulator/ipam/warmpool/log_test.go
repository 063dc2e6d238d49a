package warmpool_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

// TestLog: what people search for is in a node's log, in upstream's words.
func TestLog(t *testing.T) {
	s, _ := warmpool.ParseSettings(map[string]string{"WARM_ENI_TARGET": "1", "ENABLE_POD_ENI": "maybe"})
	r := newRig(t, warmpool.Limits{InstanceType: "m5.large", ENIs: 3, IPv4PerENI: 10}, "10.0.0.0/27", warmpool.Config{Settings: s})
	r.start(12)
	r.node.Refuse(r.now)
	r.stop(1)
	r.pass(5 * time.Second)
	for _, want := range []string{
		`{"level":"debug","ts":"2026-05-01T12:00:00.000Z","caller":"ipamd/ipamd.go","msg":"Using WARM_ENI_TARGET 1"}`,
		`"level":"error","ts":"2026-05-01T12:00:00.000Z","caller":"ipamd/ipamd.go","msg":"Failed to parse variable ENABLE_POD_ENI with value maybe as boolean"`,
		"IP pool manager - max pods: 29, warm IP target: 0, warm prefix target: 0, warm ENI target: 1, minimum IP target: 0",
		"IP pool is too low for Network Card 0: available (0) < ENI target (1) * addrsPerENI (9)",
		"Trying to allocate 9 IP addresses on ENI eni-0",
		"IP pool stats for network card 0: Total IPs/Prefixes = 9/0, AssignedIPs/CooldownIPs: 1/0, c.maxIPsPerENI = 9",
		"Trying to allocate 9 IP addresses on new ENI",
		"assignPodIPAddressUnsafe: Assign IP 10.0.0.5 to sandbox aws-cni/0/eth0 with metadata {K8SPodNamespace:default K8SPodName:pod-0 InterfacesCount:1}",
		`"level":"error","ts":"2026-05-01T12:00:00.000Z","caller":"datastore/data_store.go","msg":"DataStore has no available IP/Prefix addresses"`,
		"IP 10.0.0.17 entering cooldown period of 30s",
		"Unable to attach IPs/Prefixes for the ENI, subnet doesn't seem to have enough IPs/Prefixes. Consider using new subnet or carve a reserved range using create-subnet-cidr-reservation",
		"Recently we had InsufficientCidr error hence will wait for 2m0s before retrying",
	} {
		if !bytes.Contains(r.node.Log(), []byte(want)) {
			t.Errorf("no line has %s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", r.node.Log())
	}
}

// TestLogIsBounded: however long a node has trouble, its log has the last of it, each
// line one object, and no more than it may.
func TestLogIsBounded(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/28", warmpool.Config{Settings: settings(nil)})
	r.start(20)
	r.pass(6 * time.Hour)
	raw := r.node.Log()
	if len(raw) > 128<<10 {
		t.Errorf("%d bytes", len(raw))
	}
	last := ""
	for line := range strings.Lines(string(raw)) {
		var l struct{ Level, TS, Caller, Msg string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if l.Level == "" || l.Caller == "" || l.Msg == "" || l.TS < last {
			t.Fatalf("after %s: %+v", last, l)
		}
		last = l.TS
	}
	if !strings.HasPrefix(last, "2026-05-01T17:59") && !strings.HasPrefix(last, "2026-05-01T18:00") {
		t.Errorf("the last line is of %s", last)
	}
}

// TestLogLevel: AWS_VPC_K8S_CNI_LOGLEVEL holds back what is less.
func TestLogLevel(t *testing.T) {
	r := newRig(t, t3small, "10.0.0.0/24", warmpool.Config{Settings: settings(func(s *warmpool.Settings) { s.LogLevel = "error" })})
	r.start(9)
	r.node.Refuse(r.now)
	if n := strings.Count(string(r.node.Log()), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, r.node.Log())
	}
}
