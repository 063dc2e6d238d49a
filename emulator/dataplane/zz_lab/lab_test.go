package lab

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/rest"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded/child"
	"github.com/ekslocal/ekslocal/emulator/dataplane"
	"github.com/ekslocal/ekslocal/emulator/dataplane/fake"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == embedded.ChildArg {
		os.Exit(child.Main(os.Args[2:]))
	}
	os.Exit(m.Run())
}

type nobody struct{}

func (nobody) Authenticate(context.Context, string, string) (controlplane.Identity, bool, error) {
	return controlplane.Identity{}, false, nil
}
func (nobody) Authorize(context.Context, string, controlplane.Attributes) (bool, string, error) {
	return false, "", nil
}

func envInt(k string, d int) int {
	if n, err := strconv.Atoi(os.Getenv(k)); err == nil {
		return n
	}
	return d
}

func TestLab(t *testing.T) {
	dir := "/tmp/dplab"
	os.RemoveAll(dir)
	os.MkdirAll(dir, 0o700)
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.UnsafeNoFsync = filepath.Join(dir, "data"), "fatal", true
	endpoint := url.URL{Scheme: "unix", Path: filepath.Join(dir, "etcd.sock")}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenClientUrls = []url.URL{endpoint}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	<-e.Server.ReadyNotify()
	ec, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint.String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer ec.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	b, err := embedded.New(embedded.Config{RunDir: filepath.Join(dir, "run"), EtcdEndpoint: endpoint.String(), Etcd: ec, Authenticator: nobody{}, Log: log,
		EgressSocket: func(string) string { return filepath.Join(dir, "egress") }})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	l, err := net.Listen("unix", filepath.Join(dir, "egress"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := b.Create(ctx, conformance.NewSpec(t, "lab", os.Getenv("LAB_VERSION")))
	if err != nil {
		t.Fatal(err)
	}
	writeKubeconfig(t, info.Admin, filepath.Join(dir, "kubeconfig"))
	addrs := fake.NewAddresses("10.32.0.0/11", envInt("LAB_PERNODE", 0))
	newFleet := func() *dataplane.Fleet {
		return dataplane.NewFleet(dataplane.Config{ClusterName: "lab", REST: info.Admin, Addresses: addrs, Log: log, AwaitCNI: os.Getenv("LAB_CNI") != "", NoEvents: os.Getenv("LAB_NOEVENTS") != ""})
	}
	f := newFleet()
	go f.Run(ctx)
	go f.ServeEgress(l)
	n := envInt("LAB_NODES", 3)
	t0 := time.Now()
	join := func() {
		var wg sync.WaitGroup
		slots := make(chan struct{}, 16)
		for i := range n {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				ip := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i%250 + 4)})
				if err := f.Join(ctx, dataplane.Node{Name: fmt.Sprintf("ip-10-0-%d-%d.ec2.internal", i/250, i%250+4), InstanceID: fmt.Sprintf("i-%017x", i), InstanceType: "m5.large", Region: "us-east-1",
					Zone: "us-east-1" + string(rune('a'+i%3)), PrivateIP: ip, KubeletVersion: "v1.34.2-eks-113cf36", Architecture: "amd64", VCPUs: 2, MemoryMiB: 8192, MaxPods: 29}); err != nil {
					fmt.Println("join:", err)
				}
			})
		}
		wg.Wait()
	}
	join()
	fmt.Printf("LAB joined %d nodes in %v\n", n, time.Since(t0))
	rc := rest.CopyConfig(info.Admin)
	rc.QPS = -1
	c := kubernetes.NewForConfigOrDie(rc)
	if pods := envInt("LAB_PODS", 0); pods > 0 {
		t0 = time.Now()
		lab := map[string]string{"app": "big"}
		if _, err := c.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "big"}, Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(pods)), Selector: &metav1.LabelSelector{MatchLabels: lab},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: lab}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "nginx:1.29"}}}},
		}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for ctx.Err() == nil {
			s := f.Snapshot()
			if s.Pods[corev1.PodRunning] >= pods {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		fmt.Printf("LAB %d pods Running in %v\n", pods, time.Since(t0))
	}
	os.WriteFile(filepath.Join(dir, "ready"), nil, 0o600)
	for ctx.Err() == nil {
		if _, err := os.Stat(filepath.Join(dir, "stop")); err == nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func writeKubeconfig(t *testing.T, r *rest.Config, path string) {
	k := clientcmdapi.NewConfig()
	k.Clusters["c"] = &clientcmdapi.Cluster{Server: r.Host, CertificateAuthorityData: r.CAData, TLSServerName: r.ServerName}
	k.AuthInfos["u"] = &clientcmdapi.AuthInfo{ClientCertificateData: r.CertData, ClientKeyData: r.KeyData, Token: r.BearerToken}
	k.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	k.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*k, path); err != nil {
		t.Fatal(err)
	}
}
