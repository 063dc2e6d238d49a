package kind

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// upgrade gives a running control plane other certificate authorities.
func (p *plane) upgrade(ctx context.Context, spec controlplane.Spec) (controlplane.Info, error) {
	if err := p.work.take(ctx); err != nil {
		return controlplane.Info{}, err
	}
	defer p.work.leave()
	info, ok := p.seen()
	if !ok {
		return info, controlplane.ErrNotFound
	}
	if runs := minorOf(info.GitVersion); spec.Version != runs {
		return info, fmt.Errorf("a kind cluster stays at the version of its node image, %s: make a new cluster for %s", runs, spec.Version)
	}
	r, err := p.load()
	if err != nil {
		return info, err
	}
	q, err := p.b.asking(ctx)
	if err != nil {
		return info, err
	}
	f, err := controlPlaneFiles(spec, q.address(p.id, r.Secret))
	if err != nil {
		return info, err
	}
	p.mu.Lock()
	same := p.spec.PKI.Equal(spec.PKI)
	p.mu.Unlock()
	if f.sum() != r.Files { // whatever was seen last: a change to others may have been broken off
		err, same = p.apply(ctx, spec, f, r), false
	}
	if err == nil && !same {
		info, err = p.ready(ctx, spec)
	}
	if err != nil {
		return info, err
	}
	return info, p.trustAll(ctx) // an earlier call may not have come to it
}

// issued are the certificates that kubeadm makes from the CA.
var issued = []string{
	pkiDir + "apiserver.crt", pkiDir + "apiserver.key", pkiDir + "apiserver-kubelet-client.crt", pkiDir + "apiserver-kubelet-client.key",
}

// issuedConfigs is where kubeadm makes the components' configurations from the CA. Not
// in their places: those must not be empty for a moment, in which the kubelet, when it
// starts a component again, makes an empty file, which kubeadm does not take.
const issuedConfigs = "/etc/kubernetes/issued"

// apply gives the components other files and starts them again with those. Broken off
// anywhere it is done once more, whatever is to be reached then: the record forgets what a
// step undoes before the step, and remembers its end.
func (p *plane) apply(ctx context.Context, spec controlplane.Spec, f files, r record) error {
	engine, node := p.b.engine, nodeName(p.id)
	r.Files = ""
	if r.Issued != f.authority() {
		r.Issued = ""
	}
	if err := p.save(r); err != nil {
		return err
	}
	if err := engine.put(ctx, node, f); err != nil {
		return err
	}
	if r.Issued == "" {
		if err := p.issueAgain(ctx); err != nil {
			return err
		}
		r.Issued = f.authority()
		if err := p.save(r); err != nil {
			return err
		}
	}
	// Not the files' sum: an earlier try may have started components before these were
	// written.
	as := rand.Text()
	issuer := string(f[issuerFile])
	components := map[string]map[string]string{
		apiServer:                 {"service-account-issuer": issuer, "service-account-jwks-uri": jwks(issuer)},
		"kube-controller-manager": nil, "kube-scheduler": nil,
	}
	if err := p.restart(ctx, as, components); err != nil {
		return err
	}
	if err := p.awaitGeneration(ctx, as); err != nil {
		return err
	}
	// One that always ends again has not come to the end of this.
	admin, err := p.b.admin(spec)
	if err != nil {
		return err
	}
	if _, err := p.b.awaitAPI(ctx, admin); err != nil {
		return err
	}
	r.Files = f.sum()
	return p.save(r)
}

// authority is the sum of what kubeadm issues certificates from.
func (f files) authority() string {
	return files{pkiDir + "ca.crt": f[pkiDir+"ca.crt"], pkiDir + "ca.key": f[pkiDir+"ca.key"]}.sum()
}

// issueAgain lets kubeadm make from the CA what it made from another before.
func (p *plane) issueAgain(ctx context.Context) error {
	engine, node := p.b.engine, nodeName(p.id)
	sh := func(script string) error {
		_, err := engine.run(ctx, nil, "exec", node, "sh", "-c", script)
		return err
	}
	// Certificates that the kubelet got by itself go before those of its configuration.
	if err := sh("rm -rf /var/lib/kubelet/pki/kubelet-client-* " + issuedConfigs + " " + strings.Join(issued, " ")); err != nil {
		return err
	}
	for _, phase := range [][]string{{"certs", "apiserver"}, {"certs", "apiserver-kubelet-client"}, {"kubeconfig", "all", "--kubeconfig-dir=" + issuedConfigs}} {
		args := append([]string{"exec", node, "kubeadm", "init", "phase"}, phase...)
		if _, err := engine.run(ctx, nil, append(args, "--config=/kind/kubeadm.conf")...); err != nil {
			return fmt.Errorf("issuing certificates: %w", err)
		}
	}
	return sh("mv " + issuedConfigs + "/*.conf /etc/kubernetes/ && rmdir " + issuedConfigs + " && systemctl restart kubelet")
}

// generation is an annotation that makes the kubelet see another static pod, and
// generationEnv a variable by which its processes are told from those before.
const (
	generation    = "ekslocal.dev/generation"
	generationEnv = "EKSLOCAL_GENERATION"
)

// restartScript is run in the control plane's node, with the components as arguments.
//
//go:embed restart.sh
var restartScript string

// restart starts components again, with other arguments where those given have changed.
func (p *plane) restart(ctx context.Context, as string, components map[string]map[string]string) error {
	engine, node := p.b.engine, nodeName(p.id)
	next, names := files{}, slices.Sorted(maps.Keys(components))
	for _, component := range names {
		file, beside := "/etc/kubernetes/manifests/"+component+".yaml", "/etc/kubernetes/"+component+".next"
		// An earlier try may have been broken off between the old manifest's end and the
		// new one's beginning.
		raw, err := engine.run(ctx, nil, "exec", node, "sh", "-c", "cat "+file+" 2>/dev/null || cat "+beside)
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", file, node, err)
		}
		if next[beside], err = edited([]byte(raw), as, components[component]); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if err := engine.put(ctx, node, next); err != nil {
		return err
	}
	if _, err := engine.run(ctx, strings.NewReader(restartScript), append([]string{"exec", "-i", node, "sh", "-s"}, names...)...); err != nil {
		return fmt.Errorf("starting %s again: %w", strings.Join(names, ", "), err)
	}
	return nil
}

func edited(manifest []byte, as string, arguments map[string]string) ([]byte, error) {
	var pod corev1.Pod
	if err := yaml.Unmarshal(manifest, &pod); err != nil {
		return nil, err
	}
	if pod.Name == "" || len(pod.Spec.Containers) == 0 {
		return nil, errors.New("not a static pod of a component")
	}
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, generation, as)
	env := slices.DeleteFunc(pod.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == generationEnv })
	pod.Spec.Containers[0].Env = append(env, corev1.EnvVar{Name: generationEnv, Value: as})
	command := pod.Spec.Containers[0].Command
	for i, a := range command {
		name, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		if value, ok := arguments[name]; ok {
			command[i] = "--" + name + "=" + value
		}
	}
	return yaml.Marshal(pod)
}

// generationScript tells whether a process of the name $0 has the variable $1.
const generationScript = `for c in /proc/[0-9]*/comm; do
	if read -r name <"$c" && [ "$name" = "$0" ] && tr '\0' '\n' <"${c%comm}environ" | grep -qxF "$1"; then echo yes; fi
done 2>/dev/null`

// awaitGeneration waits until an API server runs that was started as that generation. Its
// number as a process would not tell: one of before may be yet to start.
func (p *plane) awaitGeneration(ctx context.Context, as string) error {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	tick := p.b.cfg.Clock.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := p.b.engine.run(ctx, nil, "exec", nodeName(p.id), "sh", "-c", generationScript, apiServer, generationEnv+"="+as)
		if err == nil && out != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not start again: %w", errors.Join(ctx.Err(), err))
		case <-tick.C():
		}
	}
}
