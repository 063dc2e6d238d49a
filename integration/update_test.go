package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// upgradeCluster updates a cluster's version and waits.
func (w *world) upgradeCluster(t *testing.T, name, version string) {
	t.Helper()
	u := must(w.eks.UpdateClusterVersion(t.Context(), &eks.UpdateClusterVersionInput{Name: &name, Version: &version}))(t).Update
	if u.Type != ekstypes.UpdateTypeVersionUpdate || u.Status != ekstypes.UpdateStatusInProgress {
		t.Errorf("update %+v", u)
	}
	if c := must(w.eks.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &name}))(t).Cluster; c.Status != ekstypes.ClusterStatusUpdating || *c.Version == version {
		t.Errorf("right after the call the cluster is %s at %s, want UPDATING at its old version", c.Status, *c.Version)
	}
	w.updated(t, &eks.DescribeUpdateInput{Name: &name, UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
	if c := w.clusterIs(t, name, ekstypes.ClusterStatusActive); aws.ToString(c.Version) != version {
		t.Errorf("version %s after the update to %s", *c.Version, version)
	}
}

// TestClusterVersions takes a cluster through all versions under load.
func TestClusterVersions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	c := w.cluster(t, "dev", func(in *eks.CreateClusterInput) { in.Version = aws.String("1.33") })
	k, cfg := w.kubernetes(t, c)
	must(k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}, Data: map[string]string{"a": "b"}}, metav1.CreateOptions{}))(t)

	for version, what := range map[string]string{"1.35": "two at once", "1.32": "back", "1.33": "the same", "1.99": "unknown", "x": "nonsense"} {
		_, err := w.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: &version})
		if errorAs[*ekstypes.InvalidParameterException](err) == nil {
			t.Errorf("%s: an update from 1.33 to %s: %v", what, version, err)
		}
	}

	l := newLoad(t, k, cfg)
	var platforms []string
	for _, version := range []string{"1.34", "1.35", "1.36"} {
		w.upgradeCluster(t, "dev", version)
		l.check(t, "the update to "+version)
		own := rest.CopyConfig(cfg)
		own.Dial = (&net.Dialer{}).DialContext // or client-go would share connections
		if v := must(must(kubernetes.NewForConfig(own))(t).Discovery().ServerVersion())(t).GitVersion; !strings.HasPrefix(v, "v"+version+".") {
			t.Errorf("the API server of %s says %s", version, v)
		}
		// Kept connections are the old one's until it has drained.
		eventually(t, 20*time.Second, "kept connections are with "+version, func() error {
			v, err := k.Discovery().ServerVersion()
			if err == nil && !strings.HasPrefix(v.GitVersion, "v"+version+".") {
				err = fmt.Errorf("they are with %s", v.GitVersion)
			}
			return err
		})
		l.check(t, "the drain of what was before "+version)
		platforms = append(platforms, *w.clusterIs(t, "dev", ekstypes.ClusterStatusActive).PlatformVersion)
	}
	l.end(t)
	if slices.Contains(platforms, "") {
		t.Errorf("platform versions %v", platforms)
	}
	if cm := must(k.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{}))(t); cm.Data["a"] != "b" {
		t.Errorf("data %v", cm.Data)
	}
	_, err := w.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: aws.String("dev"), Version: aws.String("1.37")})
	if errorAs[*ekstypes.InvalidParameterException](err) == nil {
		t.Errorf("an update beyond the last version: %v", err)
	}
	if ids := must(w.eks.ListUpdates(ctx, &eks.ListUpdatesInput{Name: aws.String("dev")}))(t).UpdateIds; len(ids) != 3 {
		t.Errorf("updates %v", ids)
	}
}

// load is what clients do all the time: reads on kept and on new connections, a
// watch, an informer, and writes whose order both must show.
type load struct {
	stop     context.CancelFunc
	wg       sync.WaitGroup
	requests atomic.Int64
	seen     atomic.Int64 // the last write that the informer showed
	watched  atomic.Int64 // the last write that the watch showed
	written  atomic.Int64

	mu     sync.Mutex
	errors []string
}

func (l *load) fail(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, fmt.Sprintf("%s %s: %v", time.Now().UTC().Format("15:04:05.000"), what, err))
}

func newLoad(t *testing.T, k *kubernetes.Clientset, cfg *rest.Config) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	t.Cleanup(func() { stop(); l.wg.Wait() })
	must(k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "counter"}, Data: map[string]string{"n": "0"}}, metav1.CreateOptions{}))(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cfg.CAData)
	client := func(kept bool) *http.Client {
		return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: !kept, ForceAttemptHTTP2: kept,
		}}
	}
	// Together about 200 requests a second, as far as the machine is able.
	for range 6 {
		l.every(ctx, 33*time.Millisecond, l.get(ctx, "kept connection", client(true), cfg))
	}
	l.every(ctx, 50*time.Millisecond, l.get(ctx, "new connection", client(false), cfg))
	l.every(ctx, 100*time.Millisecond, l.write(ctx, k))
	l.inform(t, ctx, k)
	l.wg.Go(func() { l.watch(ctx, k) })
	return l
}

func (l *load) every(ctx context.Context, d time.Duration, f func()) {
	l.wg.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				f()
			}
		}
	})
}

func (l *load) get(ctx context.Context, what string, c *http.Client, cfg *rest.Config) func() {
	return func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+"/api/v1/namespaces/default/configmaps/kept", nil)
		if err != nil {
			l.fail(what, err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+cfg.BearerToken)
		l.requests.Add(1)
		r, err := c.Do(req)
		if err == nil {
			var b []byte
			b, err = io.ReadAll(r.Body)
			r.Body.Close()
			if err == nil && r.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", r.Status, b)
			}
		}
		if err != nil && ctx.Err() == nil {
			l.fail(what, err)
		}
	}
}

func (l *load) write(ctx context.Context, k kubernetes.Interface) func() {
	return func() {
		n := l.written.Load() + 1
		_, err := k.CoreV1().ConfigMaps("default").Patch(ctx, "counter", "application/merge-patch+json",
			fmt.Appendf(nil, `{"data":{"n":"%d"}}`, n), metav1.PatchOptions{})
		if err == nil {
			l.written.Store(n)
		} else if ctx.Err() == nil {
			l.fail("write", err)
		}
	}
}

// number is the write that o shows, -1 for another object's.
func number(o any) int64 {
	cm, ok := o.(*corev1.ConfigMap)
	if !ok || cm.Name != "counter" {
		return -1
	}
	n, err := strconv.ParseInt(cm.Data["n"], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (l *load) advance(what string, to *atomic.Int64, o any) {
	if n := number(o); n >= 0 {
		if before := to.Swap(n); n < before {
			l.fail(what, fmt.Errorf("it shows %d after %d", n, before))
		}
	}
}

func (l *load) inform(t *testing.T, ctx context.Context, k kubernetes.Interface) {
	t.Helper()
	inf := informers.NewSharedInformerFactoryWithOptions(k, 0, informers.WithNamespace("default")).Core().V1().ConfigMaps().Informer()
	if err := inf.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !errors.Is(err, io.EOF) {
			l.fail("informer", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	must(inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { l.advance("informer", &l.seen, o) },
		UpdateFunc: func(_, o any) { l.advance("informer", &l.seen, o) },
		DeleteFunc: func(o any) { l.fail("informer", fmt.Errorf("nobody deleted %T", o)) },
	}))(t)
	l.wg.Go(func() { inf.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), inf.HasSynced) {
		t.Fatal("no sync")
	}
}

// watch keeps one watch open, going on from where a closed one ended.
func (l *load) watch(ctx context.Context, k kubernetes.Interface) {
	rv := ""
	for ctx.Err() == nil {
		w, err := k.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: rv, FieldSelector: "metadata.name=counter", AllowWatchBookmarks: true})
		if err != nil {
			if ctx.Err() == nil {
				l.fail("watch", err)
			}
			return
		}
		for e := range w.ResultChan() {
			if e.Type == watch.Error {
				err := apierrors.FromObject(e.Object)
				if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
					l.fail("watch", err)
				}
				rv = ""
				break
			}
			if m, ok := e.Object.(metav1.Object); ok {
				rv = m.GetResourceVersion()
			}
			l.advance("watch", &l.watched, e.Object)
		}
		w.Stop()
	}
}

// check fails the test for what went wrong so far, and waits until watch and
// informer show the newest write.
func (l *load) check(t *testing.T, during string) {
	t.Helper()
	eventually(t, 20*time.Second, "watch and informer follow after "+during, func() error {
		if n := l.written.Load(); l.seen.Load() < n-3 || l.watched.Load() < n-3 {
			return fmt.Errorf("written %d, informer %d, watch %d", n, l.seen.Load(), l.watched.Load())
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range l.errors {
		if i == 5 {
			t.Errorf("and %d more", len(l.errors)-i)
			break
		}
		t.Errorf("during %s: %s", during, e)
	}
	l.errors = nil
}

func (l *load) end(t *testing.T) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	t.Logf("%d requests and %d writes", l.requests.Load(), l.written.Load())
}

// TestClusterConfig changes everything of a cluster that can be changed.
func TestClusterConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	ctx := t.Context()
	w.cluster(t, "dev", func(in *eks.CreateClusterInput) {
		in.AccessConfig.AuthenticationMode = ekstypes.AuthenticationModeConfigMap
		in.Version = aws.String("1.34")
	})
	for _, tc := range []struct {
		typ   ekstypes.UpdateType
		set   func(in *eks.UpdateClusterConfigInput)
		shows func(c *ekstypes.Cluster) bool
	}{
		{ekstypes.UpdateTypeLoggingUpdate, func(in *eks.UpdateClusterConfigInput) {
			in.Logging = &ekstypes.Logging{ClusterLogging: []ekstypes.LogSetup{{Enabled: aws.Bool(true), Types: []ekstypes.LogType{ekstypes.LogTypeAudit}}}}
		}, func(c *ekstypes.Cluster) bool {
			return slices.ContainsFunc(c.Logging.ClusterLogging, func(l ekstypes.LogSetup) bool {
				return *l.Enabled && slices.Contains(l.Types, ekstypes.LogTypeAudit)
			})
		}},
		{ekstypes.UpdateTypeEndpointAccessUpdate, func(in *eks.UpdateClusterConfigInput) {
			in.ResourcesVpcConfig = &ekstypes.VpcConfigRequest{EndpointPrivateAccess: aws.Bool(true), PublicAccessCidrs: []string{"127.0.0.0/8", "10.0.0.0/8"}}
		}, func(c *ekstypes.Cluster) bool {
			return c.ResourcesVpcConfig.EndpointPrivateAccess && len(c.ResourcesVpcConfig.PublicAccessCidrs) == 2
		}},
		{ekstypes.UpdateTypeAccessConfigUpdate, func(in *eks.UpdateClusterConfigInput) {
			in.AccessConfig = &ekstypes.UpdateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApiAndConfigMap}
		}, func(c *ekstypes.Cluster) bool {
			return c.AccessConfig.AuthenticationMode == ekstypes.AuthenticationModeApiAndConfigMap
		}},
		{ekstypes.UpdateTypeVpcConfigUpdate, func(in *eks.UpdateClusterConfigInput) {
			in.ResourcesVpcConfig = &ekstypes.VpcConfigRequest{SubnetIds: w.subnets[:2]}
		}, func(c *ekstypes.Cluster) bool { return len(c.ResourcesVpcConfig.SubnetIds) == 2 }},
		{ekstypes.UpdateTypeUpgradePolicyUpdate, func(in *eks.UpdateClusterConfigInput) {
			in.UpgradePolicy = &ekstypes.UpgradePolicyRequest{SupportType: ekstypes.SupportTypeStandard}
		}, func(c *ekstypes.Cluster) bool { return c.UpgradePolicy.SupportType == ekstypes.SupportTypeStandard }},
		{ekstypes.UpdateTypeZonalShiftConfigUpdate, func(in *eks.UpdateClusterConfigInput) {
			in.ZonalShiftConfig = &ekstypes.ZonalShiftConfigRequest{Enabled: aws.Bool(true)}
		}, func(c *ekstypes.Cluster) bool { return aws.ToBool(c.ZonalShiftConfig.Enabled) }},
		{ekstypes.UpdateTypeDeletionProtectionUpdate, func(in *eks.UpdateClusterConfigInput) { in.DeletionProtection = aws.Bool(true) },
			func(c *ekstypes.Cluster) bool { return aws.ToBool(c.DeletionProtection) }},
	} {
		in := &eks.UpdateClusterConfigInput{Name: aws.String("dev")}
		tc.set(in)
		u := must(w.eks.UpdateClusterConfig(ctx, in))(t).Update
		if u.Type != tc.typ || u.Status != ekstypes.UpdateStatusInProgress {
			t.Errorf("%s: update %+v", tc.typ, u)
		}
		if c := must(w.eks.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: in.Name}))(t).Cluster; c.Status != ekstypes.ClusterStatusUpdating {
			t.Errorf("%s: right after the call the cluster is %s, want UPDATING", tc.typ, c.Status)
		}
		if _, err := w.eks.UpdateClusterVersion(ctx, &eks.UpdateClusterVersionInput{Name: in.Name, Version: aws.String("1.35")}); errorAs[*ekstypes.ResourceInUseException](err) == nil {
			t.Errorf("%s: an update during an update: %v", tc.typ, err)
		}
		w.updated(t, &eks.DescribeUpdateInput{Name: in.Name, UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
		if c := w.clusterIs(t, "dev", ekstypes.ClusterStatusActive); !tc.shows(c) {
			t.Errorf("%s: not in %+v", tc.typ, c)
		}
		if ids := must(w.eks.ListUpdates(ctx, &eks.ListUpdatesInput{Name: in.Name}))(t).UpdateIds; ids[0] != *u.Id {
			t.Errorf("%s: %s is not the newest of %v", tc.typ, *u.Id, ids)
		}
	}
	if _, err := w.eks.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String("dev")}); errorAs[*ekstypes.InvalidRequestException](err) == nil {
		t.Errorf("deleting a protected cluster: %v", err)
	}
}
