package kind

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/controlplane"
)

// labelVPC marks the engine's networks that stand for VPCs, with the VPC's id.
const labelVPC = "ekslocal.dev/vpc"

// kindNetwork is the network of all kind clusters: the way to the API server, to the
// emulator and to the Internet.
const kindNetwork = "kind"

// networkVariable has kind's library take another network, which nothing here would know
// of: machines, and the emulator's way, are in kindNetwork.
const networkVariable = "KIND_EXPERIMENTAL_DOCKER_NETWORK"

// usualNetwork refuses another network of the user's.
func usualNetwork(theirs string) error {
	if theirs == "" || theirs == kindNetwork {
		return nil
	}
	return fmt.Errorf("%s is %q, and ekslocal's clusters are in the network %s only: start ekslocal without that variable", networkVariable, theirs, kindNetwork)
}

// vpcNetwork is the engine's network of a VPC. It sorts after kind's, which so remains
// the one with the default route.
func vpcNetwork(vpcID string) string {
	sum := sha256.Sum256([]byte(vpcID))
	return kindNetwork + "-vpc-" + hex.EncodeToString(sum[:8])
}

// benchmarks is a range that no network uses in earnest (RFC 2544). The engine wants
// addresses of its own for what it connects; that of VPCs are ours to give.
var benchmarks = netip.MustParsePrefix("198.18.0.0/15")

// subnetChoices is how many of the range's networks are tried before giving up.
const subnetChoices = 64

// subnetsFor are networks for a VPC in the order in which to try them: those that others
// have are only known when the engine refuses one.
func subnetsFor(vpc controlplane.VPC) []netip.Prefix {
	sum := sha256.Sum256([]byte(vpc.ID))
	all := 1 << (24 - benchmarks.Bits())
	first := int(binary.BigEndian.Uint32(sum[8:12]) % uint32(all)) //nolint:gosec // 512
	out := make([]netip.Prefix, 0, subnetChoices)
	for n := 0; n < all && len(out) < subnetChoices; n++ {
		i := (first + n) % all
		base := benchmarks.Addr().As4()
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{base[0], base[1] + byte(i>>8), byte(i), 0}), 24)
		if !slices.ContainsFunc(vpc.CIDRs, p.Overlaps) {
			out = append(out, p)
		}
	}
	return out
}

// network is what the engine knows of one of its networks.
type network struct {
	ID   string `json:"Id"`
	Name string
	IPAM struct{ Config []struct{ Subnet string } }
}

// subnets are the IPv4 ones.
func (n *network) subnets() []netip.Prefix {
	var out []netip.Prefix
	for _, c := range n.IPAM.Config {
		if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Addr().Is4() {
			out = append(out, p)
		}
	}
	return out
}

// network returns nil for one that does not exist.
func (e engine) network(ctx context.Context, name string) (*network, error) {
	out, err := e.run(ctx, nil, "network", "inspect", name)
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, err
	}
	var list []network
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("docker network inspect %s: %w", name, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("there are %d networks named %s: remove all but one with `docker network rm ID`", len(list), name)
	}
	return &list[0], nil
}

// absence is how the engine says that it has not what was asked for. Other things are
// absent in other complaints: "no such file or directory" is the socket of an engine that
// is down.
var absence = regexp.MustCompile(`(?i)\bno such (container|object|image|network|volume)\b|\bnetwork \S+ not found\b`)

// absent tells whether the engine answered, and has not what was asked for.
func absent(err error) bool {
	return !errors.Is(err, ErrNoEngine) && absence.MatchString(err.Error())
}

// overlap tells whether a VPC has addresses of the network that leads to the API server,
// or the address at which containers ask the emulator: nodes would look for them in the
// VPC.
func (e engine) overlap(ctx context.Context, vpc controlplane.VPC, asked string) error {
	if a, err := netip.ParseAddr(asked); err == nil { // else a name, which the engine resolves
		for _, c := range vpc.CIDRs {
			if c.Contains(a) {
				return fmt.Errorf("%w: the addresses %s of VPC %s have the one at which containers reach the emulator, %s: make a VPC of others, or give the engine's bridge another address (bip in daemon.json)",
					controlplane.ErrHopeless, c, vpc.ID, a)
			}
		}
	}
	n, err := e.network(ctx, kindNetwork)
	if err != nil || n == nil {
		return err
	}
	for _, s := range n.subnets() {
		for _, c := range vpc.CIDRs {
			if s.Overlaps(c) {
				return fmt.Errorf("%w: the addresses %s of VPC %s are those of the engine's network %s (%s): make a VPC of others, or give the engine other address pools (default-address-pools in daemon.json) and remove that network",
					controlplane.ErrHopeless, c, vpc.ID, kindNetwork, s)
			}
		}
	}
	return nil
}

// haveNetwork makes the network of a VPC unless it is there. Whoever calls it holds the
// network's lock until something is connected: what nothing is connected to is removed.
func (b *Backend) haveNetwork(ctx context.Context, vpc controlplane.VPC) (*network, error) {
	name := vpcNetwork(vpc.ID)
	n, err := b.engine.network(ctx, name)
	if err != nil || n != nil {
		return n, err
	}
	choices := subnetsFor(vpc)
	if len(choices) == 0 {
		return nil, fmt.Errorf("network of VPC %s: %w: the VPC has all of %s, which the engine's networks are made of", vpc.ID, controlplane.ErrHopeless, benchmarks)
	}
	for _, subnet := range choices {
		_, err = b.engine.run(ctx, nil, "network", "create", "--driver", "bridge", "--subnet", subnet.String(),
			"--label", labelVPC+"="+vpc.ID, "--opt", "com.docker.network.bridge.enable_ip_masquerade=false", name)
		if err == nil {
			return b.engine.network(ctx, name)
		}
		if !taken(err) {
			break
		}
	}
	// Another emulator may have been quicker.
	if n, again := b.engine.network(ctx, name); again == nil && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("network of VPC %s: %w", vpc.ID, err)
}

// taken tells whether the engine refused a subnet because something else has it.
func taken(err error) bool {
	said := strings.ToLower(err.Error())
	return strings.Contains(said, "overlap") || strings.Contains(said, "conflicts with")
}

// connect puts a container into a network. One that was connected to an earlier network
// of the name is taken out of that first.
func (e engine) connect(ctx context.Context, c *container, n *network) error {
	at, ok := c.NetworkSettings.Networks[n.Name]
	if ok && (at.NetworkID == "" || at.NetworkID == n.ID) {
		return nil
	}
	if ok {
		if _, err := e.run(ctx, nil, "network", "disconnect", "--force", n.Name, c.Name); err != nil && !absent(err) {
			return err
		}
	}
	_, err := e.run(ctx, nil, "network", "connect", n.Name, c.Name)
	if err != nil && strings.Contains(err.Error(), "already exists") {
		return nil
	}
	return err
}

// release removes the network of a VPC when no machine is connected to it any more.
func (b *Backend) release(ctx context.Context, name string) error {
	b.networks.LockKey(name)
	defer b.unlock(name)
	out, err := b.engine.run(ctx, nil, "ps", "-a", "--filter", "network="+name, "--format", `{{.Names}} {{.Label "`+labelRole+`"}}`)
	if err != nil {
		return err
	}
	var planes []string
	for line := range strings.Lines(out) {
		name, role, _ := strings.Cut(strings.TrimSpace(line), " ")
		if role != roleControlPlane {
			return nil
		}
		planes = append(planes, name)
	}
	var errs []error
	for _, p := range planes {
		if _, err := b.engine.run(ctx, nil, "network", "disconnect", "--force", name, p); err != nil && !absent(err) {
			errs = append(errs, err)
		}
	}
	if _, err := b.engine.run(ctx, nil, "network", "rm", name); err != nil && !absent(err) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// unlock is for defer. Unlocking cannot fail: the name was locked before.
func (b *Backend) unlock(name string) { _ = b.networks.UnlockKey(name) }
