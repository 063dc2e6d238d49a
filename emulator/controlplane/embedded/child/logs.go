package child

import (
	"flag"
	"path/filepath"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/controlplane/embedded"
	"github.com/ekslocal/ekslocal/emulator/controlplane/logfile"
)

// verbosity is that of EKS's control planes.
const verbosity = 2

// logs are the loggers of the controllers. The API server's is klog's global one,
// to which the code of the other two that has no logger of its own writes as well.
type logs struct {
	controllerManager, scheduler logr.Logger
}

func openLogs(dir string) (*logs, error) {
	open := func(s controlplane.LogStream) (*logfile.Writer, error) {
		return logfile.Open(filepath.Join(dir, embedded.LogFile(s)))
	}
	api, err := open(controlplane.LogAPI)
	if err != nil {
		return nil, err
	}
	kcm, err := open(controlplane.LogControllerManager)
	if err != nil {
		return nil, err
	}
	sched, err := open(controlplane.LogScheduler)
	if err != nil {
		return nil, err
	}
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	for name, value := range map[string]string{
		"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL", "one_output": "true", "v": "2",
	} {
		if err := fs.Set(name, value); err != nil {
			return nil, err
		}
	}
	klog.SetOutput(api)
	logger := func(w *logfile.Writer) logr.Logger {
		return textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(w), textlogger.Verbosity(verbosity)))
	}
	return &logs{controllerManager: logger(kcm), scheduler: logger(sched)}, nil
}
