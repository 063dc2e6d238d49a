package emulator

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"k8s.io/utils/clock"

	"github.com/ekslocal/ekslocal/emulator/gateway"
	"github.com/ekslocal/ekslocal/emulator/gateway/enforce"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/timing"
)

// Config is what a user can say about an emulator. The zero value, with DataDir,
// is a good one.
type Config struct {
	// Listen is the address of the AWS endpoint; empty means 127.0.0.1:4566.
	Listen string
	// DataDir keeps everything; it must be given and is made if it is not there.
	DataDir string
	// Ephemeral deletes DataDir when the emulator ends.
	Ephemeral bool
	// ClusterPorts is the inclusive range of ports for API servers; zero means
	// 6500 to 6599.
	ClusterPorts [2]int
	// AdvertiseHost are the names and addresses under which clients elsewhere reach
	// the emulator; the first one goes into endpoints and issuers. Empty means the
	// listen address.
	AdvertiseHost []string
	// AuthMode is "strict" (default) or "lax": unknown access keys from this machine
	// are then the account's root.
	AuthMode string
	// IAM is "enforce" (default), "audit" or "off": what becomes of AWS calls that IAM
	// would refuse.
	IAM string
	// Backend runs the clusters whose tags do not choose (docs/kind.md): "embedded"
	// (default), "kind", or "auto", which is kind if Docker answers at the start.
	Backend string
	// KindNodeImage is the image of the nodes of kind clusters, and with it their
	// version; empty: kind's own images.
	KindNodeImage string
	// KindNodeResources is "type" (default): nodes of kind clusters offer what their
	// instance types have, as far as this machine has it; or "host": what it has.
	KindNodeResources string
	// SimulatedWebhooks is "skip" (default) or "fail".
	SimulatedWebhooks string
	// Fsync makes every write survive a power cut (docs/adr/0002-durability.md).
	Fsync bool
	// NoSpare saves the memory of the control plane that is kept started for the
	// next cluster.
	NoSpare bool
	// CreateTimeout, DrainTimeout and JoinTimeout are lifecycle.Patience's Create, Drain and
	// Join.
	CreateTimeout, DrainTimeout, JoinTimeout time.Duration
	// Quotas overrides AWS's default quotas, by their names in fixtures/quotas.
	Quotas map[string]int
	// Upstream is the URL of another emulator, which gets the requests for services
	// that this one does not have; empty refuses them.
	Upstream string
	// Timing is timing.Fast (default) or timing.Realistic: state changes take AWS's
	// durations, divided by TimeScale (0 for 1).
	Timing    string
	TimeScale float64
	// Executable is what control planes are started from; empty is this program.
	Executable string
	Version    string
	Log        *slog.Logger
	Clock      clock.WithTicker

	iam      enforce.Mode  // complete: IAM
	timing   timing.Timing // complete: Timing and TimeScale
	upstream *url.URL      // complete: Upstream
}

// DefaultListen is the port that users of local AWS emulators expect.
const DefaultListen = "127.0.0.1:4566"

func (c *Config) complete() error {
	if c.DataDir == "" {
		return errors.New("a data directory is needed: set --data-dir")
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("--listen %q is not host:port: %w", c.Listen, err)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("--listen %q: %q is not a port", c.Listen, port)
	}
	if c.ClusterPorts == [2]int{} {
		c.ClusterPorts = [2]int{6500, 6599}
	}
	switch c.AuthMode {
	case "":
		c.AuthMode = "strict"
	case "strict", "lax":
	default:
		return fmt.Errorf("--auth can be strict or lax, not %q", c.AuthMode)
	}
	switch c.Backend {
	case "":
		c.Backend = eks.BackendEmbedded
	case eks.BackendEmbedded, eks.BackendKind, "auto":
	default:
		return fmt.Errorf("--backend can be embedded, kind or auto, not %q", c.Backend)
	}
	switch c.KindNodeResources {
	case "":
		c.KindNodeResources = "type"
	case "type", "host":
	default:
		return fmt.Errorf("--kind-node-resources can be type or host, not %q", c.KindNodeResources)
	}
	var err error
	if c.iam, err = enforce.ParseMode(c.IAM); err != nil {
		return err
	}
	if c.timing, err = timing.New(c.Timing, c.TimeScale); err != nil {
		return err
	}
	if c.Upstream != "" {
		if c.upstream, err = gateway.ParseUpstream(c.Upstream); err != nil {
			return err
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	return os.MkdirAll(c.DataDir, 0o700)
}

// listenHost is the host part of Listen, on which API servers listen too.
func (c *Config) listenHost() string {
	host, _, _ := net.SplitHostPort(c.Listen) // complete has checked it
	if host == "" {
		return "0.0.0.0"
	}
	return host
}

// advertised is the host that clients are told.
func (c *Config) advertised() string {
	if len(c.AdvertiseHost) > 0 {
		return c.AdvertiseHost[0]
	}
	if ip := net.ParseIP(c.listenHost()); ip != nil && ip.IsUnspecified() {
		return "127.0.0.1"
	}
	return c.listenHost()
}

// certHosts are the names that serving certificates are good for.
func (c *Config) certHosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	return append(append(hosts, c.AdvertiseHost...), c.advertised())
}
