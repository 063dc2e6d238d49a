package kind

import (
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"
)

// standalone is how the kubelet runs once kubeadm is done: without an API server it runs
// static pods and knows of nothing else. One that only does not register its node tries
// to show its static pods ten times a second, and logs that it cannot.
const standalone = `[Service]
Environment="KUBELET_KUBECONFIG_ARGS="
`

// hide takes the control plane's node out of the cluster, and its pods: EKS shows none.
// kubeadm needs them while it sets up. The kubelet's own API is left to clients with
// certificates of the cluster's authority, for it has nobody to ask about tokens.
func (p *plane) hide(ctx context.Context) error {
	engine, node := p.b.engine, nodeName(p.id)
	if err := engine.putAs(ctx, node, files{"/etc/systemd/system/kubelet.service.d/21-standalone.conf": []byte(standalone)}, 0o644); err != nil {
		return err
	}
	raw, err := engine.get(ctx, node, kubeletSettings)
	if err != nil {
		return err
	}
	if raw, err = alone(raw); err != nil {
		return fmt.Errorf("%s: %w", kubeletSettings, err)
	}
	if err := engine.put(ctx, node, files{kubeletSettings: raw}); err != nil {
		return err
	}
	const script = "export KUBECONFIG=/etc/kubernetes/admin.conf; systemctl daemon-reload && systemctl restart kubelet && " +
		"kubectl delete nodes --all --wait=false && kubectl delete pods -n kube-system -l tier=control-plane --force --grace-period=0"
	if _, err := engine.run(ctx, nil, "exec", node, "sh", "-c", script); err != nil {
		return fmt.Errorf("hiding the control plane's node: %w", err)
	}
	return nil
}

const kubeletSettings = "/var/lib/kubelet/config.yaml"

// alone makes a kubelet's configuration one for a kubelet without an API server.
func alone(config []byte) ([]byte, error) {
	var c map[string]any
	if err := yaml.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	authentication, ok := c["authentication"].(map[string]any)
	if !ok || authentication["x509"] == nil {
		return nil, errors.New("not a configuration of kubeadm's")
	}
	authentication["webhook"] = map[string]any{"enabled": false}
	c["authorization"] = map[string]any{"mode": "AlwaysAllow"} // whom x509 has let in
	return yaml.Marshal(c)
}
