package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"github.com/ekslocal/ekslocal/integration/terraform"
)

// measureTerraform applies the plain configuration, plans it again and destroys it,
// and tells where the seconds went: Terraform speaks to the emulator through a
// proxy of ours, and somebody looks all the time whether the emulator is at work on
// anything.
func measureTerraform(ctx context.Context, b *bench) error {
	s, err := b.emulator(ctx, "--no-spare")
	if err != nil {
		return err
	}
	defer s.stop()
	a, err := newAccount(ctx, s.endpoint)
	if err != nil {
		return err
	}
	target, err := url.Parse(s.endpoint)
	if err != nil {
		return err
	}
	w := &watch{}
	proxy := httptest.NewServer(w.proxy(target))
	defer proxy.Close()
	dir, err := os.MkdirTemp("", "ekslocal-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tf, err := terraform.New(dir, "plain", proxy.URL, "test")
	if errors.Is(err, terraform.ErrMissing) {
		log.Printf("terraform: left out: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	if out, err := tf.Command("init").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go w.look(ctx, a.eks)
	for _, step := range []struct {
		what string
		args []string
	}{
		{"terraform apply of integration/terraform/plain", []string{"apply", "-auto-approve"}},
		{"the next plan, which is empty", []string{"plan", "-detailed-exitcode"}},
		{"destroy", []string{"destroy", "-auto-approve"}},
	} {
		w.reset()
		cmd := tf.Command(step.args[0], step.args[1:]...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		began := time.Now()
		err := cmd.Run()
		took := time.Since(began)
		if err != nil {
			return fmt.Errorf("terraform %s: %w\n%s", step.args[0], err, out.String())
		}
		cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		b.row(step.what, "%s: %s", seconds(took), w.report(began, took, cpu))
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// span is a time in which something went on.
type span struct{ from, to time.Time }

// watch collects when the emulator answered, and when it had work that nobody
// waited for with an open request: a cluster CREATING, an add-on UPDATING.
type watch struct {
	mu      sync.Mutex
	serving []span
	working []span
	repeats int // requests that the SDK sent again
}

func (w *watch) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.serving, w.working, w.repeats = nil, nil, 0
}

func (w *watch) proxy(target *url.URL) http.Handler {
	p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
	}}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		from := time.Now()
		p.ServeHTTP(rw, r)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.serving = append(w.serving, span{from, time.Now()})
		if again := r.Header.Get("Amz-Sdk-Request"); again != "" && !strings.Contains(again, "attempt=1") {
			w.repeats++
		}
	})
}

// look asks every 20 ms what is unfinished.
func (w *watch) look(ctx context.Context, c *eks.Client) {
	const every = 20 * time.Millisecond
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now()
		if busy, err := unfinished(ctx, c); err == nil && busy { // a name listed may be gone when asked about
			w.mu.Lock()
			w.working = append(w.working, span{now, now.Add(every)})
			w.mu.Unlock()
		}
	}
}

func unfinished(ctx context.Context, c *eks.Client) (bool, error) {
	clusters, err := c.ListClusters(ctx, &eks.ListClustersInput{})
	if err != nil {
		return false, err
	}
	for _, name := range clusters.Clusters {
		d, err := c.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &name})
		if err != nil || d.Cluster.Status != ekstypes.ClusterStatusActive {
			return err == nil, err
		}
		groups, err := c.ListNodegroups(ctx, &eks.ListNodegroupsInput{ClusterName: &name})
		if err != nil {
			return false, err
		}
		for _, g := range groups.Nodegroups {
			d, err := c.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &name, NodegroupName: &g})
			if err != nil || d.Nodegroup.Status != ekstypes.NodegroupStatusActive {
				return err == nil, err
			}
		}
		addons, err := c.ListAddons(ctx, &eks.ListAddonsInput{ClusterName: &name})
		if err != nil {
			return false, err
		}
		for _, a := range addons.Addons {
			d, err := c.DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: &name, AddonName: &a})
			if err != nil || d.Addon.Status != ekstypes.AddonStatusActive {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// report divides a command's time: the emulator at work, the provider asleep (a
// quarter of a second or more without any request while the emulator is done), and
// Terraform itself between the requests.
func (w *watch) report(began time.Time, took, cpu time.Duration) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	const (
		step  = 5 * time.Millisecond
		pause = 250 * time.Millisecond
	)
	steps := int(took/step) + 1
	serving, ours := make([]bool, steps), make([]bool, steps)
	mark := func(s []span, in []bool) (total time.Duration) {
		for _, p := range s {
			total += p.to.Sub(p.from)
			for i := max(0, int(p.from.Sub(began)/step)); i < steps && i <= int(p.to.Sub(began)/step); i++ {
				in[i] = true
			}
		}
		return total
	}
	answering := mark(w.serving, serving)
	mark(w.working, ours)
	var work, asleep time.Duration
	for i, quiet := 0, 0; i <= steps; i++ {
		if i < steps && !serving[i] && !ours[i] {
			quiet++
			continue
		}
		if d := time.Duration(quiet) * step; d >= pause && i < steps && i != quiet {
			asleep += d // not what comes before the first request and after the last
		}
		quiet = 0
		if i < steps && ours[i] {
			work += step
		}
	}
	return fmt.Sprintf("%d requests answered in %s altogether, %d repeated; clusters, node groups and add-ons at work for %s; the provider asleep for %s; the rest Terraform's own (%s of CPU)",
		len(w.serving), answering.Round(time.Millisecond), w.repeats, seconds(work), seconds(asleep), seconds(cpu))
}
