package kind

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"path"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/pki"
)

// files are a node's files by path. What each must be is known from the Spec and from
// where the emulator is to be asked.
type files map[string][]byte

// pkiDir is kubeadm's: it takes what it finds there for the cluster's.
const pkiDir = "/etc/kubernetes/pki/"

// issuerFile is nobody's but ours: the issuer is an argument of the API server, and one
// that changes when the emulator moves.
const issuerFile = filesDir + "/issuer"

func jwks(issuer string) string { return issuer + "/keys" }

// controlPlaneFiles are our own files of a control plane.
func controlPlaneFiles(spec controlplane.Spec, ask address) (files, error) {
	signing, err := pki.ParseSigningKey(spec.PKI.SAKey)
	if err != nil {
		return nil, fmt.Errorf("service-account key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(signing.Public())
	if err != nil {
		return nil, fmt.Errorf("service-account key: %w", err)
	}
	f := files{
		pkiDir + "ca.crt": signerFirst(spec.PKI), pkiDir + "ca.key": spec.PKI.CAKey,
		pkiDir + "sa.key": spec.PKI.SAKey, pkiDir + "sa.pub": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		issuerFile: []byte(spec.Issuer), filesDir + "/signer.crt": spec.PKI.CACert, filesDir + "/signer.key": spec.PKI.CAKey,
	}
	for name, doc := range map[string]any{
		"authentication.yaml": kubeconfig(ask.url("authenticate")),
		"authorizer.yaml":     kubeconfig(ask.url("authorize")),
		"authorization.yaml":  authorization(filesDir + "/authorizer.yaml"),
	} {
		if f[filesDir+"/"+name], err = yaml.Marshal(doc); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if f[relayConfig], err = relayFile(ask); err != nil {
		return nil, fmt.Errorf("relay's configuration: %w", err)
	}
	maps.Copy(f, auditFiles())
	return f, nil
}

// signerFirst is the bundle that the cluster trusts with the CA in front that signs:
// kubeadm takes the first one for the cluster's own.
func signerFirst(p controlplane.PKI) []byte {
	out := bytes.TrimSpace(p.CACert)
	for rest := p.Bundle(); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return append(out, '\n')
		}
		if one := bytes.TrimSpace(pem.EncodeToMemory(b)); !bytes.Equal(one, bytes.TrimSpace(p.CACert)) {
			out = append(append(out, '\n'), one...)
		}
	}
}

// kubeconfig is how an API server finds a webhook. The URL has the credentials, see
// address.
func kubeconfig(url string) any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "ekslocal",
		"clusters": []any{map[string]any{"name": "ekslocal", "cluster": map[string]any{"server": url}}},
		"contexts": []any{map[string]any{"name": "ekslocal", "context": map[string]any{"cluster": "ekslocal"}}},
	}
}

// authorization puts EKS's access policies behind RBAC. They are only ever bound to AWS
// identities: the system's own are not asked about. Without an answer nothing is denied
// to whom RBAC allows it; the others get a 500 whose body has the error, the webhook's
// URL in it, and so has the API server's log.
func authorization(kubeconfig string) any {
	return map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
		"authorizers": []any{
			map[string]any{"type": "Node", "name": "node"},
			map[string]any{"type": "RBAC", "name": "rbac"},
			map[string]any{"type": "Webhook", "name": "eks", "webhook": map[string]any{
				"authorizedTTL": "1s", "unauthorizedTTL": "1s", "timeout": "3s", "failurePolicy": "NoOpinion",
				"subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
				"connectionInfo":  map[string]any{"type": "KubeConfigFile", "kubeConfigFile": kubeconfig},
				"matchConditions": []any{map[string]any{"expression": "!request.user.startsWith('system:')"}},
			}},
		},
	}
}

// sum tells sets of files apart.
func (f files) sum() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(h, "%s %d\n%s", name, len(f[name]), f[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// put writes the files into a running node, all for root alone.
func (e engine) put(ctx context.Context, node string, f files) error {
	return e.putAs(ctx, node, f, 0o600)
}

func (e engine) putAs(ctx context.Context, node string, f files, mode int64) error {
	b, err := f.tar(mode)
	if err != nil {
		return err
	}
	if _, err := e.run(ctx, b, "exec", "-i", node, "tar", "-C", "/", "--no-same-owner", "-xf", "-"); err != nil {
		return fmt.Errorf("writing files of %s: %w", node, err)
	}
	return nil
}

// copyInto writes files into a node that need not run. It does not reach what a running
// one has mounted.
func (e engine) copyInto(ctx context.Context, node string, f files) error {
	b, err := f.tar(0o600)
	if err != nil {
		return err
	}
	if _, err := e.run(ctx, b, "cp", "-", node+":/"); err != nil {
		return fmt.Errorf("writing files of %s: %w", node, err)
	}
	return nil
}

// tar has them with their folders.
func (f files) tar(mode int64) (*bytes.Buffer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if dir := path.Dir(name)[1:]; !made[dir] {
			made[dir] = true
			if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
				return nil, err
			}
		}
		if err := w.WriteHeader(&tar.Header{Name: name[1:], Mode: mode, Size: int64(len(f[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f[name]); err != nil {
			return nil, err
		}
	}
	return &b, w.Close()
}

// get reads one file of a running node.
func (e engine) get(ctx context.Context, node, name string) ([]byte, error) {
	out, err := e.run(ctx, nil, "exec", node, "cat", name)
	if err != nil {
		return nil, fmt.Errorf("reading %s of %s: %w", name, node, err)
	}
	return []byte(out), nil
}
