package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// measureStart: from exec to a healthy endpoint on an empty data directory.
func measureStart(ctx context.Context, b *bench) error {
	var t times
	for range 7 {
		began := time.Now()
		s, err := b.emulator(ctx, "--no-spare")
		if err != nil {
			return err
		}
		t = append(t, time.Since(began))
		s.stop()
	}
	b.row("`ekslocal start` to a healthy endpoint", "%v", t)
	return nil
}

// measureCluster: CreateCluster to ACTIVE and a first authenticated list, without
// and with the warm spare; then a node group of three.
func measureCluster(ctx context.Context, b *bench) error {
	for _, v := range []struct {
		name  string
		flags []string
		wait  time.Duration
	}{{"cold", []string{"--no-spare"}, 0}, {"with the warm spare", nil, 12 * time.Second}} {
		s, err := b.emulator(ctx, v.flags...)
		if err != nil {
			return err
		}
		cluster, nodes, err := b.clusters(ctx, s, v.wait)
		s.stop()
		if err != nil {
			return err
		}
		b.row("CreateCluster to ACTIVE and a first authenticated `get ns`, "+v.name, "%v", cluster)
		b.row("Node group of 3 to ACTIVE, all nodes Ready, "+v.name, "%v", nodes)
	}
	return nil
}

func (b *bench) clusters(ctx context.Context, s *server, wait time.Duration) (cluster, nodes times, err error) {
	a, err := newAccount(ctx, s.endpoint)
	if err != nil {
		return nil, nil, err
	}
	for i := range 5 {
		time.Sleep(wait) // the spare for this cluster starts meanwhile
		name := fmt.Sprintf("c%d", i)
		began := time.Now()
		c, err := a.cluster(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		k, err := a.kubernetes(ctx, c)
		if err != nil {
			return nil, nil, err
		}
		if _, err := k.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); err != nil {
			return nil, nil, err
		}
		cluster = append(cluster, time.Since(began))
		began = time.Now()
		if err := a.nodegroup(ctx, name, 3, "m5.large"); err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, time.Since(began))
	}
	return cluster, nodes, nil
}

// measureIdle: memory and CPU of a cluster with nothing in it, after a minute; once
// beside the warm spare, as by default, and once alone, when it shares the pages of
// the program with the daemon only.
func measureIdle(ctx context.Context, b *bench) error {
	if err := idle(ctx, b, ""); err != nil {
		return err
	}
	return idle(ctx, b, ", without a spare", "--no-spare")
}

func idle(ctx context.Context, b *bench, how string, flags ...string) error {
	s, err := b.emulator(ctx, flags...)
	if err != nil {
		return err
	}
	defer s.stop()
	a, err := newAccount(ctx, s.endpoint)
	if err != nil {
		return err
	}
	if _, err := a.cluster(ctx, "idle"); err != nil {
		return err
	}
	daemon := s.cmd.Process.Pid
	child, err := childOf(daemon, "idle")
	if err != nil {
		return err
	}
	log.Print("waiting a minute for the cluster to settle, then a minute to measure")
	time.Sleep(time.Minute)
	childBefore, daemonBefore := cpuOf(child), cpuOf(daemon)
	time.Sleep(time.Minute)
	b.row("Idle cluster"+how+": memory of its control plane", "RSS %d MB, PSS %d MB", memoryOf(child, "Rss"), memoryOf(child, "Pss"))
	b.row("Idle cluster"+how+": CPU of its control plane", "%.1f %% of a core", (cpuOf(child)-childBefore).Seconds()/60*100)
	b.row("Daemon beside it"+how, "RSS %d MB, %.1f %% of a core", memoryOf(daemon, "Rss"), (cpuOf(daemon)-daemonBefore).Seconds()/60*100)
	return nil
}

// childOf finds the control plane of a cluster, whose command line ends in its name
// unless it was a spare: then that of the eldest child.
func childOf(pid int, cluster string) (int, error) {
	children, err := childrenOf(pid)
	if err != nil {
		return 0, fmt.Errorf("control planes of %d: %w", pid, err)
	}
	if len(children) == 0 {
		return 0, fmt.Errorf("%d has no control plane", pid)
	}
	for _, c := range children {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c))
		if err == nil && strings.HasSuffix(strings.TrimRight(string(line), "\x00"), "\x00"+cluster) {
			return c, nil
		}
	}
	return children[0], nil
}

func childrenOf(pid int) ([]int, error) {
	out, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, err
		}
		pids = append(pids, n)
	}
	return pids, err
}

// memoryOf reads a sum of /proc/PID/smaps_rollup in MB.
func memoryOf(pid int, field string) int {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field+":" {
			kb, _ := strconv.Atoi(f[1])
			return kb / 1000
		}
	}
	return 0
}

func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	sys, _ := strconv.Atoi(f[12])
	return time.Duration(user+sys) * 10 * time.Millisecond
}

// measureScale: a Deployment over many nodes until every pod runs.
func measureScale(ctx context.Context, b *bench) error {
	s, err := b.emulator(ctx, "--no-spare")
	if err != nil {
		return err
	}
	defer s.stop()
	a, err := newAccount(ctx, s.endpoint)
	if err != nil {
		return err
	}
	c, err := a.cluster(ctx, "scale")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := a.nodegroup(ctx, "scale", b.nodes, "m5.large"); err != nil {
		return err
	}
	b.row(fmt.Sprintf("Node group of %d to ACTIVE, all nodes Ready", b.nodes), "%.1f s", time.Since(began).Seconds())
	k, err := a.kubernetes(ctx, c)
	if err != nil {
		return err
	}
	began = time.Now()
	if _, err := k.AppsV1().Deployments("default").Create(ctx, deployment(b.pods), metav1.CreateOptions{}); err != nil {
		return err
	}
	err = poll(ctx, 10*time.Minute, time.Second, func() (bool, error) {
		// A token lives 15 minutes; the Deployment's status counts for us.
		d, err := k.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		log.Printf("%d of %d", d.Status.AvailableReplicas, b.pods)
		return int(d.Status.AvailableReplicas) == b.pods, nil
	})
	if err != nil {
		return err
	}
	b.row(fmt.Sprintf("%d pods on %d nodes, all Running and Ready after", b.pods, b.nodes), "%.1f s", time.Since(began).Seconds())
	if children, err := childrenOf(s.cmd.Process.Pid); err == nil && len(children) == 1 {
		b.row("Then: memory", "control plane RSS %d MB, daemon RSS %d MB", memoryOf(children[0], "Rss"), memoryOf(s.cmd.Process.Pid, "Rss"))
		b.row("Then: CPU used in all", "control plane %.0f s, daemon %.0f s", cpuOf(children[0]).Seconds(), cpuOf(s.cmd.Process.Pid).Seconds())
	}
	return nil
}

func deployment(n int) *appsv1.Deployment {
	replicas, labels := int32(n), map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "nginx"}}},
			},
		},
	}
}
