// Package emulator is ekslocal: it wires store, AWS services, control planes,
// reconcilers and the gateway together. Read it first.
package emulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/ekslocal/ekslocal/emulator/admin"
	"github.com/ekslocal/ekslocal/emulator/authn"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/backends"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
	kindbackend "github.com/ekslocal/ekslocal/emulator/controlplane/kind"
	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
	"github.com/ekslocal/ekslocal/emulator/hold"
	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
	"github.com/ekslocal/ekslocal/emulator/ips"
	"github.com/ekslocal/ekslocal/emulator/lifecycle"
	"github.com/ekslocal/ekslocal/emulator/oidc"
	"github.com/ekslocal/ekslocal/emulator/service/autoscaling"
	"github.com/ekslocal/ekslocal/emulator/service/ec2"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/service/eksauth"
	"github.com/ekslocal/ekslocal/emulator/service/elb"
	"github.com/ekslocal/ekslocal/emulator/service/elbv2"
	"github.com/ekslocal/ekslocal/emulator/service/events"
	"github.com/ekslocal/ekslocal/emulator/service/iam"
	"github.com/ekslocal/ekslocal/emulator/service/kms"
	"github.com/ekslocal/ekslocal/emulator/service/logs"
	"github.com/ekslocal/ekslocal/emulator/service/sqs"
	"github.com/ekslocal/ekslocal/emulator/service/ssm"
	"github.com/ekslocal/ekslocal/emulator/service/sts"
	"github.com/ekslocal/ekslocal/emulator/sigv4"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/store/etcd"
	"github.com/ekslocal/ekslocal/fixtures/eksversions"
)

// tablesPrefix is where the AWS resources are in etcd; clusters' objects are
// beside it.
const tablesPrefix = "/ekslocal/"

// Emulator is one running ekslocal.
type Emulator struct {
	cfg Config
	log *slog.Logger

	listener    net.Listener
	etcd        *etcd.Server
	store       *store.Store
	backend     controlplane.Backend
	containers  *kindbackend.Backend // one of backend's
	iam         *iam.Service
	sts         *sts.Service
	ec2         *ec2.Service
	eks         *eks.Service
	eksauth     *eksauth.Service
	ssm         *ssm.Service
	kms         *kms.Service
	logs        *logs.Service
	autoscaling *autoscaling.Service
	elb         *elb.Service
	elbv2       *elbv2.Service
	sqs         *sqs.Service
	events      *events.Service
	authn       *authn.Authenticator
	pods        *ipamd.Pools
	ips         *ips.Reporter
	loops       loops
	gate        *enforce.Gate
	gateway     *gateway.Gateway
	aws         lateHandler // gateway, for containers
	ca          []byte

	started   time.Time
	life      context.Context // ends with Close
	cancel    context.CancelFunc
	resetting sync.Mutex
	stop      chan struct{} // closed when somebody asks the emulator to end
	once      sync.Once
	served    chan error
}

// New checks cfg. Start does the rest.
func New(cfg Config) (*Emulator, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return &Emulator{cfg: cfg, log: cfg.Log, stop: make(chan struct{}), served: make(chan error, 1)}, nil
}

// Start brings everything up in the order in which it depends on each other, and
// returns when the endpoint answers. After an error nothing is left running.
func (e *Emulator) Start(ctx context.Context) error {
	// What outlives Start's own context ends with Close.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.life, e.cancel, e.started = life, cancel, e.cfg.Clock.Now()
	for _, step := range []struct {
		what string
		do   func(start, life context.Context) error
	}{
		{"listen", e.listen},
		{"open the store", e.openStore},
		{"set up the services", e.makeServices},
		{"set up the control planes", e.makeBackend},
		{"set up the reconcilers", e.makeLoops},
		{"serve the endpoint", e.serve},
	} {
		if err := step.do(ctx, life); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", step.what, err), e.Close())
		}
	}
	e.log.Info("ekslocal is ready", "endpoint", e.Endpoint(), "data", e.cfg.DataDir,
		"after", e.cfg.Clock.Since(e.started).Round(time.Millisecond).String())
	return nil
}

func (e *Emulator) listen(ctx, _ context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", e.cfg.Listen)
	if err != nil {
		return fmt.Errorf("%w: is another ekslocal or LocalStack running? --listen takes another address", err)
	}
	e.listener = l
	return nil
}

func (e *Emulator) openStore(ctx, life context.Context) (err error) {
	e.etcd, err = etcd.Start(ctx, etcd.Config{
		Dir: filepath.Join(e.cfg.DataDir, "etcd"), Socket: filepath.Join(e.runDir(), "etcd.sock"), Fsync: e.cfg.Fsync, Log: e.log, Clock: e.cfg.Clock,
	})
	if err != nil {
		return err
	}
	e.store, err = store.Open(life, e.etcd.KV(tablesPrefix), e.log)
	return err
}

func (e *Emulator) makeServices(_, life context.Context) (err error) {
	iss := issuers{e, oidc.NewFetcher(nil)}
	e.iam = iam.New(iam.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log, Quotas: e.cfg.Quotas, Thumbprints: iss})
	e.gate = enforce.New(enforce.Config{Mode: e.cfg.iam, Callers: callers{e}, Directory: e.directory, Hosts: e.cfg.certHosts(), Clock: e.cfg.Clock, Log: e.log})
	e.sts = sts.New(sts.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log, IAM: e.iam, Keys: iss, Gate: e.gate})
	e.eksauth = eksauth.New(eksauth.Config{Clock: e.cfg.Clock, Log: e.log, Clusters: associations{e}, Keys: iss, Sessions: podSessions{e.sts}})
	e.kms = kms.New(kms.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log, Principals: principals{e.iam}})
	e.ssm = ssm.New(ssm.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log, Keys: e.kms})
	e.logs = logs.New(logs.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log, Keys: e.kms})
	e.sqs = sqs.New(sqs.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log})
	e.events = events.New(events.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log, Queues: e.sqs})
	e.elb = elb.New(elb.Config{Store: e.store})
	e.elbv2 = elbv2.New(elbv2.Config{Store: e.store})
	e.ec2 = ec2.New(ec2.Config{Store: e.store, Clock: e.cfg.Clock, Log: e.log, Profiles: e.iam, Quotas: e.cfg.Quotas, Timing: e.cfg.timing})
	e.autoscaling = autoscaling.New(autoscaling.Config{
		Store: e.store, Clock: e.cfg.Clock, Log: e.log, EC2: e.ec2, Fleet: fleet{e.store}, Nodegroups: nodegroups{}, Events: e.events,
	})
	e.pods = ipamd.New(ipamd.Config{EC2: e.ec2, Clock: e.cfg.Clock, Log: e.log, OnGrow: func(instanceID string) {
		if lc := e.loops.lifecycle(); lc != nil {
			lc.RetryAddresses(instanceID)
		}
	}})
	e.ips = &ips.Reporter{
		Store: e.store, EC2: e.ec2, Clock: e.cfg.Clock, Pool: e.pods.View, ClusterOf: lifecycle.ClusterOf, Waiting: e.waitingPods, PodAt: e.podAt,
	}
	return nil
}

// keys are all access keys there are: made through IAM and STS, and the built-in.
func (e *Emulator) keys() sigv4.Keys { return sigv4.Chain{e.iam, e.sts, sigv4.Builtin{}} }

func (e *Emulator) makeBackend(ctx, _ context.Context) (err error) {
	rec := records{e.store}
	e.authn, err = authn.New(authn.Config{
		Clusters: rec, Entries: rec, Instances: rec, Providers: rec, ConfigMaps: awsAuth{e}, Hosts: e.cfg.certHosts(), Keys: e.keys(), Clock: e.cfg.Clock, Log: e.log,
	})
	if err != nil {
		return err
	}
	cfg := embedded.Config{
		Executable: e.cfg.Executable, RunDir: filepath.Join(e.cfg.DataDir, "clusters"), EtcdEndpoint: e.etcd.Endpoint(), Etcd: e.etcd.Client(),
		ListenHost: e.cfg.listenHost(), CertHosts: e.cfg.certHosts(), Authenticator: e.authn, EgressSocket: e.egressSocket,
		SimulatedWebhooks: e.cfg.SimulatedWebhooks, Admitter: admission{e}, Usage: usage{e}, Log: e.log, Clock: e.cfg.Clock,
	}
	if !e.cfg.NoSpare {
		// Most VPCs are in 10.0.0.0/8, for which EKS chooses this service network.
		cfg.SpareVersion, cfg.SpareServiceCIDR = eksversions.Default(), "172.20.0.0/16"
		cfg.SpareIssuer = func(id string) string { return oidc.Issuer(e.issuerBase(), strings.ToUpper(id)) }
	}
	usual, err := embedded.New(cfg)
	if err != nil {
		return err
	}
	containers, err := e.kindBackend()
	if err != nil {
		return errors.Join(err, usual.Close())
	}
	e.containers = containers
	if err := containers.Retain(ctx, func(id string) bool { return rec.find(id) != nil }); err != nil {
		e.log.Warn("kind clusters of an earlier state are left behind", "error", err)
	}
	e.backend = backends.New(map[string]controlplane.Backend{"": usual, eks.BackendKind: containers})
	e.eks, err = eks.New(eks.Config{
		Store: e.store, Clock: e.cfg.Clock, Log: e.log, EC2: e.ec2, LaunchTemplates: e.ec2, IAM: principals{e.iam}, LinkedRoles: e.iam, Keys: e.kms,
		ClusterPorts: e.cfg.ClusterPorts, Versions: usual.Versions(), Insights: insights{e},
		Backends: map[string]func() []string{eks.BackendKind: kindVersions(containers, usual)}, Backend: e.defaultBackend(ctx, containers),
	})
	return err
}

func (e *Emulator) makeLoops(_, life context.Context) error {
	e.loops.make = func() *lifecycle.Lifecycle {
		return lifecycle.New(lifecycle.Config{
			Store: e.store, Clock: e.cfg.Clock, Log: e.log, Backend: e.backend, EC2: e.ec2, IAM: e.iam, AutoScaling: e.autoscaling,
			Addresses: e.pods, Nodes: e.authn, KMS: e.kms, Logs: e.logs, PodRoles: e.eksauth,
			IssuerBase: e.issuerBase(), Endpoint: e.clusterEndpoint, EgressSocket: e.egressSocket, PodEndpoint: e.podEndpoint,
			Patience: lifecycle.Patience{Create: e.cfg.CreateTimeout, Drain: e.cfg.DrainTimeout, Join: e.cfg.JoinTimeout}, Timing: e.cfg.timing,
		})
	}
	e.loops.also = []func(context.Context) error{
		e.ec2.Run, e.pods.Run, e.kms.Run, e.logs.Run, e.sqs.Run, e.autoscaling.Run, newInstanceEvents(e.store, e.events, e.log).Run,
	}
	e.loops.start(life)
	return nil
}

func (e *Emulator) serve(_, _ context.Context) error {
	services, err := e.Services()
	if err != nil {
		return err
	}
	cert, ca, err := serverCertificate(e.cfg.DataDir, e.cfg.certHosts(), e.cfg.Clock.Now())
	if err != nil {
		return err
	}
	e.ca = ca
	var caller gateway.Caller
	if !e.cfg.timing.Realistic() { // there clients wait as long as on AWS
		caller = hold.New(e.store, e.cfg.Clock, e.stop)
	}
	e.gateway, err = gateway.New(gateway.Config{
		Caller: caller, Authorizer: e.gate, Upstream: e.cfg.upstream, Services: services, Keys: e.keys(), Clock: e.cfg.Clock, Log: e.log, Version: e.cfg.Version, Lax: e.cfg.AuthMode == "lax",
		Collectors: []prometheus.Collector{ips.NewCollector(e.ips)},
		TLS:        &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Routes: func(r *mux.Router) {
			admin.Register(r, adminView{e, services}, e.log)
			oidc.Routes(r, e.issuerBase(), records{e.store})
		},
	})
	if err != nil {
		return err
	}
	e.aws.set(e.gateway.ForContainers())
	go func() { e.served <- e.gateway.Serve(e.listener) }()
	return nil
}

// Wait returns when somebody asked the emulator to end, or when it cannot go on.
func (e *Emulator) Wait() error {
	select {
	case <-e.stop:
		return nil
	case err := <-e.served:
		return err
	}
}

// Stop asks the emulator to end: Wait returns.
func (e *Emulator) Stop() { e.once.Do(func() { close(e.stop) }) }

// Close ends everything in the opposite order and keeps the data, unless they are
// ephemeral. It may be called after a Start that failed.
func (e *Emulator) Close() error {
	e.Stop()
	var errs []error
	if e.gateway != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_ = e.gateway.Shutdown(ctx) // requests that take longer are cut off
	} else if e.listener != nil {
		errs = append(errs, e.listener.Close())
	}
	e.loops.stop()
	if e.backend != nil {
		errs = append(errs, e.backend.Close())
	}
	if e.authn != nil {
		e.authn.Close()
	}
	if e.cancel != nil {
		e.cancel()
	}
	if e.etcd != nil {
		errs = append(errs, e.etcd.Close())
	}
	if e.cfg.Ephemeral {
		errs = append(errs, os.RemoveAll(e.cfg.DataDir))
	}
	if dir := e.runDir(); dir != filepath.Join(e.cfg.DataDir, "run") {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// port is the endpoint's port, which the system chose if Listen said 0.
func (e *Emulator) port() int { return e.listener.Addr().(*net.TCPAddr).Port }

func (e *Emulator) address() string {
	return net.JoinHostPort(e.cfg.advertised(), strconv.Itoa(e.port()))
}

// Endpoint is the URL for AWS_ENDPOINT_URL.
func (e *Emulator) Endpoint() string { return "http://" + e.address() }

func (e *Emulator) issuerBase() string { return "https://" + e.address() }

func (e *Emulator) clusterEndpoint(port int) string {
	return "https://" + net.JoinHostPort(e.cfg.advertised(), strconv.Itoa(port))
}
