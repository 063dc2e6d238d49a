package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// kindRounds is how often each of the two makes and deletes a cluster, in turn.
const kindRounds = 3

// measureKind puts kind's own command line, of the version in go.mod, beside the kind
// backend, with the same node image on the same engine.
func measureKind(ctx context.Context, b *bench) error {
	image := os.Getenv("EKSLOCAL_KIND_NODE_IMAGE")
	if image == "" {
		return errors.New("EKSLOCAL_KIND_NODE_IMAGE names no node image: integration/kind/nodeimage/build.sh makes one")
	}
	dir, err := os.MkdirTemp("", "ekslocal-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	k, err := newKindCLI(ctx, dir, image)
	if err != nil {
		return err
	}
	s, err := b.emulator(ctx, "--no-spare", "--backend", "kind", "--kind-node-image", image)
	if err != nil {
		return err
	}
	defer s.stop()
	a, err := newAccount(ctx, s.endpoint)
	if err != nil {
		return err
	}
	var theirs, ours struct{ created, deleted times }
	for i := range kindRounds {
		name := fmt.Sprintf("bench-%d", i)
		began := time.Now()
		if err := k.create(ctx, name); err != nil {
			return err
		}
		theirs.created = append(theirs.created, time.Since(began))
		began = time.Now()
		if err := k.remove(ctx, name); err != nil {
			return err
		}
		theirs.deleted = append(theirs.deleted, time.Since(began))

		began = time.Now()
		if _, err := a.answering(ctx, name); err != nil {
			return err
		}
		ours.created = append(ours.created, time.Since(began))
		began = time.Now()
		if err := a.remove(ctx, name); err != nil {
			return err
		}
		ours.deleted = append(ours.deleted, time.Since(began))
	}
	b.row("kind create cluster to a first answer", "%v", theirs.created)
	b.row("The kind backend: CreateCluster to a first authenticated answer", "%v", ours.created)
	b.row("kind delete cluster", "%v", theirs.deleted)
	b.row("The kind backend: DeleteCluster to gone", "%v", ours.deleted)
	return b.idleKind(ctx, k, a)
}

// idleKind compares what both cost while nothing happens in them.
func (b *bench) idleKind(ctx context.Context, k *kindCLI, a *account) error {
	if err := k.create(ctx, "bench-idle"); err != nil {
		return err
	}
	defer func() { _ = k.remove(context.WithoutCancel(ctx), "bench-idle") }()
	c, err := a.answering(ctx, "idle")
	if err != nil {
		return err
	}
	defer func() { _ = a.remove(context.WithoutCancel(ctx), "idle") }()
	issuer := *c.Identity.Oidc.Issuer
	nodes := []struct{ name, container string }{
		{"kind's cluster", "bench-idle-control-plane"},
		{"The kind backend's", "ekslocal-" + strings.ToLower(issuer[strings.LastIndexByte(issuer, '/')+1:]) + "-control-plane"},
	}
	log.Print("waiting a minute for the clusters to settle, then a minute to measure")
	time.Sleep(time.Minute)
	var before [2]cost
	for i, n := range nodes {
		if before[i], err = costOf(n.container); err != nil {
			return err
		}
	}
	time.Sleep(time.Minute)
	for i, n := range nodes {
		now, err := costOf(n.container)
		if err != nil {
			return err
		}
		b.row(n.name+", idle", "PSS %d MB, %.1f %% of a core", now.pss, (now.cpu-before[i].cpu).Seconds()/60*100)
	}
	return nil
}

// cost is what all processes of a container hold and have used.
type cost struct {
	pss int
	cpu time.Duration
}

func costOf(container string) (c cost, err error) {
	out, err := exec.Command("docker", "top", container, "-eo", "pid").Output()
	if err != nil {
		return c, fmt.Errorf("processes of %s: %w", container, err)
	}
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil {
			c.pss += memoryOf(pid, "Pss")
			c.cpu += cpuOf(pid)
		}
	}
	return c, nil
}

// kindCLI is kind's command line, built from the module that go.mod has.
type kindCLI struct{ binary, dir, config string }

func newKindCLI(ctx context.Context, dir, image string) (*kindCLI, error) {
	k := &kindCLI{binary: filepath.Join(dir, "kind"), dir: dir, config: filepath.Join(dir, "kind.yaml")}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", k.binary, "sigs.k8s.io/kind").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building kind: %w: %s", err, out)
	}
	// The least that its cluster needs to be compared: no network of pods in either, and
	// on cgroup version 1 a kubelet that takes it.
	config := "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking: {disableDefaultCNI: true}\nnodes: [{role: control-plane, image: \"" + image + "\"}]\n"
	v, err := exec.CommandContext(ctx, "docker", "info", "--format", "{{.CgroupVersion}}").Output()
	if err != nil {
		return nil, fmt.Errorf("docker info: %w", err)
	}
	if strings.TrimSpace(string(v)) == "1" {
		config += "kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n"
	}
	return k, os.WriteFile(k.config, []byte(config), 0o600)
}

// create returns when the cluster has answered its administrator.
func (k *kindCLI) create(ctx context.Context, name string) error {
	kubeconfig := filepath.Join(k.dir, name)
	if out, err := exec.CommandContext(ctx, k.binary, "create", "cluster", "--name", name, "--config", k.config, "--kubeconfig", kubeconfig).CombinedOutput(); err != nil {
		return fmt.Errorf("kind create cluster: %w: %s", err, out)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	_, err = c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	return err
}

func (k *kindCLI) remove(ctx context.Context, name string) error {
	if out, err := exec.CommandContext(ctx, k.binary, "delete", "cluster", "--name", name, "--kubeconfig", filepath.Join(k.dir, name)).CombinedOutput(); err != nil {
		return fmt.Errorf("kind delete cluster: %w: %s", err, out)
	}
	return nil
}

// answering creates a cluster that has answered its creator.
func (a *account) answering(ctx context.Context, name string) (*ekstypes.Cluster, error) {
	c, err := a.cluster(ctx, name)
	if err != nil {
		return nil, err
	}
	k, err := a.kubernetes(ctx, c)
	if err != nil {
		return nil, err
	}
	_, err = k.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	return c, err
}

func (a *account) remove(ctx context.Context, name string) error {
	if _, err := a.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String(name)}); err != nil {
		return err
	}
	return poll(ctx, 2*time.Minute, 10*time.Millisecond, func() (bool, error) {
		_, err := a.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String(name)})
		var gone *ekstypes.ResourceNotFoundException
		if errors.As(err, &gone) {
			return true, nil
		}
		return false, err
	})
}
