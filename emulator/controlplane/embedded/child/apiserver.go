package child

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	extensionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	authorizerunion "k8s.io/apiserver/pkg/authorization/union"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"

	ekscontrolplane "github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// apiServer is the process's kube-apiserver.
type apiServer struct {
	listener *gate
	// loopback reaches the server as system:apiserver.
	loopback *rest.Config
	// controllers tells the controllers' requests apart.
	controllers *controllerIdentities
	audit       *auditSwitch
	openAPI     *common.Config
	openAPIv3   *common.OpenAPIV3Config
	runFunc     func(context.Context) error
	draining    atomic.Bool
	markSeeded  func(context.Context) error
}

func newAPIServer(ctx context.Context, plan embedded.Plan, access *access) (*apiServer, error) {
	s := &apiServer{controllers: newControllerIdentities()}
	var err error
	if s.listener, err = newGate(); err != nil {
		return nil, fmt.Errorf("private listener: %w", err)
	}
	opts, err := apiServerOptions(ctx, plan, s.listener)
	if err != nil {
		return nil, err
	}
	seeded, err := seed(ctx, plan)
	if err != nil {
		return nil, fmt.Errorf("default objects: %w", err)
	}
	s.markSeeded = seeded.mark
	cfg, err := s.config(opts, plan, access, seeded.current)
	if err != nil {
		return nil, err
	}
	completed, err := cfg.Complete()
	if err != nil {
		return nil, err
	}
	chain, err := app.CreateServerChain(completed)
	if err != nil {
		return nil, err
	}
	v2, err := newOpenAPIv2(s.openAPI, plan.GitVersion, chain.GenericAPIServer)
	if err != nil {
		return nil, err
	}
	chain.GenericAPIServer.Handler.NonGoRestfulMux.Handle("/openapi/v2", v2)
	newOpenAPIv3(s.openAPIv3, plan.GitVersion, version.Get(), v2.core.Handler.GoRestfulContainer.RegisteredWebServices()).register(v2.core.Handler.NonGoRestfulMux)
	prepared, err := chain.PrepareRun()
	if err != nil {
		return nil, err
	}
	// Computed once for all, while the server is built; from now on on demand.
	s.openAPIv3.Definitions = nil
	s.runFunc = prepared.Run
	return s, nil
}

func apiServerOptions(ctx context.Context, plan embedded.Plan, l net.Listener) (options.CompletedOptions, error) {
	o := options.NewServerRunOptions()
	fs := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, f := range o.Flags().FlagSets {
		fs.AddFlagSet(f)
	}
	args, err := apiServerArgs(plan)
	if err != nil {
		return options.CompletedOptions{}, err
	}
	if err := fs.Parse(args); err != nil {
		return options.CompletedOptions{}, err
	}
	o.SecureServing.Listener = l
	if err := o.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return options.CompletedOptions{}, err
	}
	co, err := o.Complete(ctx)
	if err != nil {
		return options.CompletedOptions{}, err
	}
	return co, utilerrors.NewAggregate(co.Validate())
}

func apiServerArgs(plan embedded.Plan) ([]string, error) {
	file := func(name string) string { return filepath.Join(plan.Dir, name) }
	key := func(name string) string { return filepath.Join(plan.Keys, name) }
	audit, err := writeAuditPolicy(plan.Dir)
	if err != nil {
		return nil, err
	}
	advertise := "127.0.0.1"
	if ip, _, err := net.ParseCIDR(plan.ServiceCIDR); err == nil && ip.To4() == nil {
		advertise = "::1"
	}
	args := []string{
		"--emulated-version=" + plan.Version,
		"--etcd-servers=" + plan.EtcdEndpoint, "--etcd-prefix=" + plan.EtcdPrefix,
		// The daemon compacts; each cluster's own compactor would only cost.
		"--etcd-compaction-interval=0", "--etcd-count-metric-poll-period=0", "--lease-reuse-duration-seconds=600",
		"--etcd-healthcheck-timeout=5s",
		"--advertise-address=" + advertise, "--endpoint-reconciler-type=none",
		"--tls-cert-file=" + key(embedded.FileServing+".crt"), "--tls-private-key-file=" + key(embedded.FileServing+".key"),
		"--client-ca-file=" + key(embedded.FileCACert),
		"--kubelet-client-certificate=" + key(embedded.FileKubeletClient+".crt"), "--kubelet-client-key=" + key(embedded.FileKubeletClient+".key"),
		"--kubelet-certificate-authority=" + key(embedded.FileCACert),
		"--kubelet-preferred-address-types=InternalIP,Hostname,InternalDNS",
		"--proxy-client-cert-file=" + key(embedded.FileProxyClient+".crt"), "--proxy-client-key-file=" + key(embedded.FileProxyClient+".key"),
		"--requestheader-client-ca-file=" + file(embedded.FileProxyCACert), "--requestheader-allowed-names=" + embedded.ProxyClientName,
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--service-account-key-file=" + key(embedded.FileSAKey), "--service-account-signing-key-file=" + key(embedded.FileSAKey),
		"--service-account-issuer=" + plan.Issuer, "--service-account-jwks-uri=" + plan.Issuer + "/keys",
		"--api-audiences=https://kubernetes.default.svc",
		"--service-account-max-token-expiration=24h", // EKS's
		"--service-cluster-ip-range=" + plan.ServiceCIDR,
		"--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--enable-admission-plugins=NodeRestriction,ExtendedResourceToleration",
		// Webhooks and aggregated APIs are dialled by endpoint, as nothing here
		// forwards cluster addresses; without endpoints they fail at once.
		"--enable-aggregator-routing=true",
		"--audit-policy-file=" + audit, "--audit-log-path=" + file(embedded.LogFile("audit")), "--audit-log-mode=batch",
		"--audit-log-maxsize=" + strconv.Itoa(logfile.MaxBytes>>20), "--audit-log-maxbackup=1",
		"--profiling=false", "--shutdown-watch-termination-grace-period=5s",
	}
	if betas := ekscontrolplane.BetaAPIs(plan.Version); betas != "" {
		args = append(args, "--runtime-config="+betas)
	}
	if plan.EgressSocket != "" {
		egress, err := writeEgressConfig(plan.Dir, plan.EgressSocket)
		if err != nil {
			return nil, err
		}
		args = append(args, "--egress-selector-config-file="+egress)
	}
	return args, nil
}

// config does what app.NewConfig does, with ours put in where all three servers
// of the chain, and the admission plugins, will take it from.
func (s *apiServer) config(opts options.CompletedOptions, plan embedded.Plan, access *access, seeded bool) (*app.Config, error) {
	generic, informers, storage, err := controlplaneapiserver.BuildGenericConfig(
		opts.CompletedOptions,
		[]*runtime.Scheme{legacyscheme.Scheme, apiextensionsapiserver.Scheme, aggregatorscheme.Scheme},
		controlplane.DefaultAPIResourceConfigSource(),
		generatedopenapi.GetOpenAPIDefinitions,
	)
	if err != nil {
		return nil, err
	}
	if s.audit, err = newAuditSwitch(generic.AuditPolicyRuleEvaluator); err != nil {
		return nil, err
	}
	generic.AuditPolicyRuleEvaluator = s.audit
	generic.EffectiveVersion = reportedVersion{generic.EffectiveVersion, plan.GitVersion}
	generic.Authentication.Authenticator = access.authenticator(s.controllers, generic.Authentication.Authenticator)
	generic.Authorization.Authorizer = access.authorizer(generic.Authorization.Authorizer)
	generic.RuleResolver = authorizerunion.NewRuleResolvers(generic.RuleResolver, unlisted{})
	generic.AuditBackend = audit.Union(generic.AuditBackend, newDeprecatedUses(access))
	if seeded {
		// They poll for a second and create the same objects one by one.
		generic.DisabledPostStartHooks.Insert("rbac/bootstrap-roles", "scheduling/bootstrap-system-priority-classes")
	}
	hooks := newSimulatedBackends(plan.SimulatedWebhooks, access.forward, informers)
	// First, so that it is given the plugins themselves.
	opts.Admission.GenericAdmission.Decorators = append(admission.Decorators{admission.DecoratorFunc(hooks.decorate)}, opts.Admission.GenericAdmission.Decorators...)

	kubeAPIs, resolver, initializers, err := app.CreateKubeAPIServerConfig(opts, generic, informers, storage)
	if err != nil {
		return nil, err
	}
	cp := &kubeAPIs.ControlPlane
	conversion := webhook.NewDefaultAuthenticationInfoResolverWrapper(cp.ProxyTransport, cp.Generic.EgressSelector, cp.Generic.LoopbackClientConfig, cp.Generic.TracerProvider)
	extensions, err := controlplaneapiserver.CreateAPIExtensionsConfig(*cp.Generic, cp.VersionedInformers, initializers,
		opts.CompletedOptions, opts.MasterCount, resolver, hooks.wrapConversion(conversion))
	if err != nil {
		return nil, err
	}
	aggregator, err := controlplaneapiserver.CreateAggregatorConfig(*cp.Generic, opts.CompletedOptions, cp.VersionedInformers, resolver,
		cp.ProxyTransport, cp.Extra.PeerProxy, initializers)
	if err != nil {
		return nil, err
	}
	s.loopback = generic.LoopbackClientConfig
	s.wrapHandler(&aggregator.GenericConfig.Config)
	s.openAPI, s.openAPIv3 = cp.Generic.OpenAPIConfig, cp.Generic.OpenAPIV3Config // see openAPIv2 and openAPIv3
	cp.Generic.OpenAPIConfig, aggregator.GenericConfig.OpenAPIConfig = nil, nil
	cp.Generic.SkipOpenAPIInstallation = true
	useOwnDefinitions(&extensions.GenericConfig.Config)
	return &app.Config{Options: opts, KubeAPIs: kubeAPIs, ApiExtensions: extensions, Aggregator: aggregator}, nil
}

// useOwnDefinitions gives the server of custom resources its own types' OpenAPI
// definitions; in kube-apiserver it carries those of all of Kubernetes.
func useOwnDefinitions(c *genericapiserver.Config) {
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(extensionsopenapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer(apiextensionsapiserver.Scheme)
	title := c.OpenAPIConfig.Info.Title
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	c.OpenAPIConfig.Info.Title, c.OpenAPIV3Config.Info.Title = title, title
}

// wrapHandler makes a draining server ask every client to connect anew (HTTP/2
// then sends a GOAWAY), while it still answers.
func (s *apiServer) wrapHandler(c *genericapiserver.Config) {
	build := c.BuildHandlerChainFunc
	c.BuildHandlerChainFunc = func(h http.Handler, c *genericapiserver.Config) http.Handler {
		next := build(h, c)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.draining.Load() {
				w.Header().Set("Connection", "close")
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (s *apiServer) startDraining() {
	s.draining.Store(true)
	s.listener.closePublic()
}

func (s *apiServer) run(ctx context.Context) error { return s.runFunc(ctx) }

func (s *apiServer) waitReady(ctx context.Context) error {
	const pause, patience = 10 * time.Millisecond, 60 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cfg := rest.CopyConfig(s.loopback)
	cfg.QPS = -1
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	for {
		_, err := c.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Raw()
		if err == nil {
			return s.markSeeded(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kube-apiserver did not become ready: %w", err)
		case <-time.After(pause):
		}
	}
}

// writeEgressConfig names the cluster's network only. A "direct" entry for etcd would
// have it dialled by TCP, and it listens on a unix socket.
func writeEgressConfig(dir, socket string) (string, error) {
	path := filepath.Join(dir, "egress.yaml")
	return path, os.WriteFile(path, fmt.Appendf(nil, `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: %q
`, socket), 0o600)
}
