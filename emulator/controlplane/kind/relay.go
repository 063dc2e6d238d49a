package kind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/binaries"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/relay"
)

// The relay stands in the control plane's container where EKS's own webhooks are on AWS:
// the API server calls them on its loopback interface, and their pods' namespaces cannot
// be reached from where the emulator is.
const (
	relayUnit   = "ekslocal-relay.service"
	relayConfig = filesDir + "/relay.json"
	// relayTrust is a file of its own in the directory that kubeadm gives the API server
	// for its authorities.
	relayTrust = "/etc/ssl/certs/ekslocal-relay.pem"
)

// relayService starts before the kubelet, and with it before the API server, which reads
// its authorities once.
const relayService = `[Unit]
Description=ekslocal: webhooks of EKS, use of deprecated APIs
Before=kubelet.service
StartLimitIntervalSec=0
[Service]
Type=notify
TimeoutStartSec=10
ExecStart=` + agentPath + ` relay ` + relayConfig + `
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
`

// relayFile is the relay's configuration. It has the secret of the control plane.
func relayFile(ask address) ([]byte, error) {
	return json.Marshal(relay.Config{
		Emulator: ask.base, Listen: []string{controlplane.AdmissionHost, controlplane.PodIdentityHost},
		Key: filesDir + "/relay.pem", Trust: relayTrust, AuditLog: auditLog, Reported: logDir + "/reported",
	})
}

// relaySum tells one relay from another.
func relaySum(agent []byte) string {
	h := sha256.New()
	h.Write(agent)
	h.Write([]byte(relayService))
	return hex.EncodeToString(h.Sum(nil))
}

// haveRelay makes the relay run that this emulator brings, if it is not the one that was
// installed. The API server goes on without it, as webhooks that fail let objects
// through.
func (p *plane) haveRelay(ctx context.Context, r *record) error {
	node := nodeName(p.id)
	agent, err := p.b.engine.agent(ctx, node)
	if err != nil {
		return err
	}
	if r.Relay == relaySum(agent) {
		return nil
	}
	engine := p.b.engine
	err = errors.Join(
		engine.putAs(ctx, node, files{agentPath: agent}, 0o755),
		engine.putAs(ctx, node, files{"/etc/systemd/system/" + relayUnit: []byte(relayService)}, 0o644),
	)
	if err != nil {
		return err
	}
	const script = "systemctl daemon-reload && systemctl enable -q " + relayUnit + " && systemctl restart " + relayUnit
	if _, err := engine.run(ctx, nil, "exec", node, "sh", "-c", script); err != nil {
		return fmt.Errorf("starting the relay: %w", err)
	}
	r.Relay = relaySum(agent)
	return nil
}

// agentPath is where the agent is in nodes.
const agentPath = "/opt/ekslocal/ekslocal-node"

// agent is the program that runs in nodes, for the node's architecture.
func (e engine) agent(ctx context.Context, node string) ([]byte, error) {
	machine, err := e.run(ctx, nil, "exec", node, "uname", "-m")
	if err != nil {
		return nil, err
	}
	arch := strings.TrimSpace(machine)
	switch arch {
	case "x86_64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	}
	return binaries.Agent(arch)
}
