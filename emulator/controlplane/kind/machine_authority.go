package kind

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/pki"
)

// Files of a kubelet that depend on the cluster's authorities. The client's certificate is
// a link, which the kubelet insists on when it renews that by itself.
const (
	kubeletConf   = "/etc/kubernetes/kubelet.conf"
	kubeletClient = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	kubeletIssued = "/var/lib/kubelet/pki/kubelet-client-issued.pem"
)

// authority is the sum of the authorities that machines must trust now.
func (p *plane) authority() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s", p.spec.PKI.CACert, p.spec.PKI.Bundle())
	return hex.EncodeToString(h.Sum(nil))
}

// trust gives a running machine the authorities that the cluster has since it joined, and
// its kubelet a certificate of the present one: kubeadm does that for nobody.
func (p *plane) trust(ctx context.Context, container string, m controlplane.Machine, r machineRecord) error {
	now := p.authority()
	if r.Authority == now {
		return nil
	}
	p.mu.Lock()
	keys := p.spec.PKI
	p.mu.Unlock()
	ca := pki.CA{Cert: keys.CACert, Key: keys.CAKey}
	cert, key, err := ca.Issue(pki.Request{CommonName: "system:node:" + m.NodeName, Organization: []string{"system:nodes"}}, p.b.cfg.Clock.Now())
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", m.NodeName, err)
	}
	conf, err := yaml.Marshal(kubeletKubeconfig(nodeName(p.id), keys.Bundle()))
	if err != nil {
		return err
	}
	f := files{pkiDir + "ca.crt": signerFirst(keys), kubeletConf: conf, kubeletIssued: append(cert, key...)}
	if err := p.b.engine.put(ctx, container, f); err != nil {
		return err
	}
	if _, err := p.b.engine.run(ctx, nil, "exec", container, "sh", "-c", "ln -sf "+kubeletIssued+" "+kubeletClient+" && systemctl restart kubelet"); err != nil {
		return err
	}
	r.Authority = now
	return p.saveMachine(m.InstanceID, r)
}

// kubeletKubeconfig is what kubeadm leaves of a kubelet's configuration.
func kubeletKubeconfig(server string, bundle []byte) any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "default-context",
		"clusters": []any{map[string]any{"name": "default-cluster", "cluster": map[string]any{
			"server": "https://" + server + ":6443", "certificate-authority-data": base64.StdEncoding.EncodeToString(bundle),
		}}},
		"contexts": []any{map[string]any{"name": "default-context", "context": map[string]any{"cluster": "default-cluster", "user": "default-auth"}}},
		"users":    []any{map[string]any{"name": "default-auth", "user": map[string]any{"client-certificate": kubeletClient, "client-key": kubeletClient}}},
	}
}

// trustAll does so on every machine that runs. Those that do not are seen to when they
// are started.
func (p *plane) trustAll(ctx context.Context) error {
	var errs []error
	for _, id := range p.runningGuests() {
		g := p.guest(id)
		m, _ := g.seen()
		r, ok, err := p.loadMachine(id)
		if err == nil && ok {
			err = p.trust(ctx, machineName(p.id, id), m, r)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("machine of instance %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}
