package child_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
)

// TestUpgradeUnderLoad upgrades while clients of every kind are at work. None may
// see an error: a watch may only end.
func TestUpgradeUnderLoad(t *testing.T) {
	b, ctx := newBackend(t, startEtcd(t), nil), testContext(t)
	spec := conformance.NewSpec(t, "busy", "1.34")
	info, err := b.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var requests, writes, watches, seen atomic.Int64
	plain := plainClient(t, info)
	wg.Go(func() { keepListing(load, t, plain, info.Admin.Host, &requests) })
	wg.Go(func() { keepListing(load, t, plainClient(t, info), info.Admin.Host, &requests) })
	wg.Go(func() { keepWriting(load, t, info.Admin, &writes) })
	wg.Go(func() { keepWatching(load, t, info.Admin, &watches) })
	informer := startInformer(load, t, info.Admin, &seen)

	waitFor(ctx, t, "load", func() bool { return requests.Load() > 100 && writes.Load() > 20 })
	before := requests.Load()
	t0 := time.Now()
	spec.Version = "1.35"
	after, err := b.Upgrade(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("upgraded in %v, during which %d requests were answered", time.Since(t0), requests.Load()-before)
	if requests.Load()-before < 50 {
		t.Error("requests stood still during the upgrade")
	}
	if after.PID == info.PID {
		t.Error("same process after the upgrade")
	}
	waitFor(ctx, t, "end of the old process", func() bool { return !processRuns(info.PID) })
	t.Logf("old process ended after %v", time.Since(t0))
	written := writes.Load()
	waitFor(ctx, t, "writes after the upgrade", func() bool { return writes.Load() > written+20 })
	stop()
	wg.Wait()
	waitFor(ctx, t, "informer to see every write", func() bool { return len(informer.GetStore().ListKeys()) >= int(writes.Load()) })
	v, err := kubernetes.NewForConfigOrDie(info.Admin).Discovery().ServerVersion()
	if err != nil || v.GitVersion != after.GitVersion {
		t.Errorf("server version %v, %v; want %s", v, err, after.GitVersion)
	}
	t.Logf("%d requests, %d writes, %d watches, %d informer events", requests.Load(), writes.Load(), watches.Load(), seen.Load())
}

// plainClient is an HTTP/2 client without client-go's retries.
func plainClient(t *testing.T, info controlplane.Info) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(info.Admin.CAData)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool},
	}}
}

func keepListing(ctx context.Context, t *testing.T, c *http.Client, host string, n *atomic.Int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, host+"/api/v1/namespaces/default/configmaps?limit=5", nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer k8s-aws-v1.ann")
		res, err := c.Do(req)
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("list: %v", err)
			}
			continue
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if (err != nil || res.StatusCode != http.StatusOK) && ctx.Err() == nil {
			t.Errorf("list: %s %v %.200s", res.Status, err, text)
		}
		n.Add(1)
	}
}

func keepWriting(ctx context.Context, t *testing.T, cfg *rest.Config, n *atomic.Int64) {
	c := kubernetes.NewForConfigOrDie(cfg).CoreV1().ConfigMaps("default")
	for i := 0; ctx.Err() == nil; i++ {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("load-%d", i)}}
		if _, err := c.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			if ctx.Err() == nil {
				t.Errorf("write: %v", err)
			}
			continue
		}
		n.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// keepWatching follows configmaps without an informer, from where each watch ended.
func keepWatching(ctx context.Context, t *testing.T, cfg *rest.Config, n *atomic.Int64) {
	c := kubernetes.NewForConfigOrDie(cfg).CoreV1().ConfigMaps("default")
	version := "0"
	for ctx.Err() == nil {
		w, err := c.Watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
		if err != nil {
			if ctx.Err() == nil {
				t.Errorf("watch: %v", err)
			}
			continue
		}
		n.Add(1)
		for e := range w.ResultChan() {
			if e.Type == watch.Error {
				if err := apierrors.FromObject(e.Object); ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
					t.Errorf("watch: %v", err)
				}
				version = "0"
				continue
			}
			version = e.Object.(metav1.Object).GetResourceVersion()
		}
	}
}

func startInformer(ctx context.Context, t *testing.T, cfg *rest.Config, n *atomic.Int64) cache.SharedIndexInformer {
	t.Helper()
	f := informers.NewSharedInformerFactoryWithOptions(kubernetes.NewForConfigOrDie(cfg), 0, informers.WithNamespace("default"))
	i := f.Core().V1().ConfigMaps().Informer()
	if err := i.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil && !errors.Is(err, io.EOF) && !apierrors.IsResourceExpired(err) {
			t.Errorf("informer: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { n.Add(1) }}); err != nil {
		t.Fatal(err)
	}
	f.Start(ctx.Done())
	f.WaitForCacheSync(ctx.Done())
	return i
}

func waitFor(ctx context.Context, t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: %v", what, ctx.Err())
		case <-deadline:
			t.Fatalf("waiting for %s: too long", what)
		}
	}
}
