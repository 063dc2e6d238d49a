package kind

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/nodeagent/protocol"
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
ExecStart=` + protocol.Program + ` relay ` + relayConfig + `
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

// relaySum tells one relay from another, by the sum of its program.
func relaySum(program string) string {
	sum := sha256.Sum256([]byte(program + relayService))
	return hex.EncodeToString(sum[:])
}

// haveRelay makes the relay run that this emulator brings, if it is not the one that was
// installed. The API server goes on without it, as webhooks that fail let objects
// through.
func (p *plane) haveRelay(ctx context.Context, r *record) error {
	engine, node := p.b.engine, nodeName(p.id)
	program, sum, err := p.agent(ctx, node)
	if err != nil {
		return err
	}
	if program == nil && r.Relay == relaySum(sum) {
		return nil
	}
	if program != nil {
		if err := engine.putAs(ctx, node, files{protocol.Program: program}, 0o755); err != nil {
			return err
		}
	}
	if err := engine.putAs(ctx, node, files{agentSum: []byte(sum + "\n"), "/etc/systemd/system/" + relayUnit: []byte(relayService)}, 0o644); err != nil {
		return err
	}
	// A container that has just started may not have its systemd yet.
	const script = "i=0; until systemctl daemon-reload; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 0.1; done; " +
		"systemctl enable -q " + relayUnit + " && systemctl restart " + relayUnit
	if _, err := engine.run(ctx, nil, "exec", node, "sh", "-c", script); err != nil {
		return fmt.Errorf("starting the relay: %w", err)
	}
	r.Relay = relaySum(sum)
	return nil
}
