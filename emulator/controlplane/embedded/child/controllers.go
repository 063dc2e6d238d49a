package child

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/klog/v2"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
)

// runControllers returns when ctx has ended and both have stopped, or at the first
// one's failure.
//
// There is no leader election: the parent hands the controllers over from one
// process to the next in sequence, which leaves neither the 15 seconds of an
// unreleased lease nor the writes of renewing it.
func runControllers(ctx context.Context, plan embedded.Plan, api *apiServer, l *logs) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kcmConfig, err := writeKubeconfig(plan.Keys, embedded.FileControllers, api.listener.Addr())
	if err != nil {
		return err
	}
	schedulerConfig, err := writeKubeconfig(plan.Keys, embedded.FileScheduler, api.listener.Addr())
	if err != nil {
		return err
	}
	errs := make(chan error, 2)
	go func() {
		err := runControllerManager(klog.NewContext(ctx, l.controllerManager), plan, kcmConfig, api.controllers)
		errs <- wrapUnlessDone(ctx, "kube-controller-manager", err)
	}()
	go func() {
		err := runScheduler(klog.NewContext(ctx, l.scheduler), schedulerConfig)
		errs <- wrapUnlessDone(ctx, "kube-scheduler", err)
	}()
	if err := <-errs; err != nil {
		return err
	}
	return <-errs
}

func wrapUnlessDone(ctx context.Context, name string, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s ended: %w", name, err)
}

func runControllerManager(ctx context.Context, plan embedded.Plan, kubeconfig string, ids *controllerIdentities) error {
	key := func(name string) string { return filepath.Join(plan.Keys, name) }
	o, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	flags := o.Flags(kcm.KnownControllers(), kcm.ControllersDisabledByDefault(), kcm.ControllerAliases())
	fs := pflag.NewFlagSet("kube-controller-manager", pflag.ContinueOnError)
	for _, f := range flags.FlagSets {
		fs.AddFlagSet(f)
	}
	o.ParsedFlags = &flags
	if err := fs.Parse([]string{
		"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0",
		// The controllers do act as their service accounts, see controllerIdentities.
		"--use-service-account-credentials=false",
		"--service-account-private-key-file=" + key(embedded.FileSAKey), "--root-ca-file=" + key(embedded.FileCACert),
		"--cluster-signing-cert-file=" + key(embedded.FileSigner+".crt"), "--cluster-signing-key-file=" + key(embedded.FileSigner+".key"),
		"--service-cluster-ip-range=" + plan.ServiceCIDR, "--allocate-node-cidrs=false", "--configure-cloud-routes=false",
		"--flex-volume-plugin-dir=" + filepath.Join(plan.Dir, "volume-plugins"), // or it makes one in /usr/libexec
		"--kube-api-qps=1000", "--kube-api-burst=2000", "--profiling=false",
	}); err != nil {
		return err
	}
	c, err := o.Config(ctx, kcm.KnownControllers(), kcm.ControllersDisabledByDefault(), kcm.ControllerAliases())
	if err != nil {
		return err
	}
	c.Kubeconfig.Wrap(ids.wrap)
	return kcm.Run(ctx, c.Complete())
}

func runScheduler(ctx context.Context, kubeconfig string) error {
	o := scheduleroptions.NewOptions()
	fs := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	for _, f := range o.Flags.FlagSets {
		fs.AddFlagSet(f)
	}
	if err := fs.Parse([]string{
		"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0", "--profiling=false",
		"--kube-api-qps=1000", "--kube-api-burst=2000",
	}); err != nil {
		return err
	}
	cc, sched, err := scheduler.Setup(ctx, o)
	if err != nil {
		return err
	}
	// scheduler.Run is this and a few things around it that exit the process.
	cc.EventBroadcaster.StartRecordingToSink(ctx.Done())
	defer cc.EventBroadcaster.Shutdown()
	cc.InformerFactory.Start(ctx.Done())
	if cc.DynInformerFactory != nil {
		cc.DynInformerFactory.Start(ctx.Done())
	}
	cc.InformerFactory.WaitForCacheSync(ctx.Done())
	if cc.DynInformerFactory != nil {
		cc.DynInformerFactory.WaitForCacheSync(ctx.Done())
	}
	if err := sched.WaitForHandlersSync(ctx); err != nil {
		return err
	}
	sched.Run(ctx)
	return nil
}

func writeKubeconfig(dir, identity string, addr net.Addr) (string, error) {
	file := func(name string) string { return filepath.Join(dir, name) }
	c := clientcmdapi.NewConfig()
	c.Clusters["self"] = &clientcmdapi.Cluster{Server: "https://" + addr.String(), CertificateAuthority: file(embedded.FileCACert)}
	c.AuthInfos[identity] = &clientcmdapi.AuthInfo{ClientCertificate: file(identity + ".crt"), ClientKey: file(identity + ".key")}
	c.Contexts["self"] = &clientcmdapi.Context{Cluster: "self", AuthInfo: identity}
	c.CurrentContext = "self"
	path := file(identity + ".kubeconfig")
	return path, clientcmd.WriteToFile(*c, path)
}
