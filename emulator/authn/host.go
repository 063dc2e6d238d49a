package authn

import (
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/ekslocal/ekslocal/emulator/awsid"
)

// stsHost takes STS's names apart: region and suffix.
var stsHost = regexp.MustCompile(`^sts(?:-fips)?\.(?:([a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.)?(amazonaws\.com|amazonaws\.com\.cn|api\.aws|api\.amazonwebservices\.com\.cn)$`)

// checkHost refuses a request that was signed for somebody else: whoever is handed
// one, such as another service that identifies its callers by it, must not get into
// clusters with it. EKS takes the names of STS in the cluster's partition. Clients
// of ours may have signed for the emulator's own endpoint as well; the request goes
// nowhere either way, the host is but a part of what was signed.
func (a *Authenticator) checkHost(u *url.URL, c Cluster) error {
	host := strings.ToLower(u.Hostname())
	if m := stsHost.FindStringSubmatch(host); m != nil {
		return checkSTS(u, m[1], m[2], c.Scope.Partition())
	}
	if a.ownHost(host) {
		return nil
	}
	return formatError("unexpected hostname %q in pre-signed URL", u.Host)
}

func checkSTS(u *url.URL, region, suffix, partition string) error {
	switch {
	case u.Scheme != "https":
		return formatError("unexpected scheme %q in pre-signed URL", u.Scheme)
	case u.Port() != "":
		return formatError("unexpected hostname %q in pre-signed URL", u.Host)
	case region == "" && partition == awsid.PartitionAWS && suffix == "amazonaws.com":
		return nil
	case region == "" || strings.HasSuffix(suffix, ".cn") != (awsid.PartitionOf(region) == awsid.PartitionChina):
		return formatError("unexpected hostname %q in pre-signed URL", u.Host)
	case awsid.PartitionOf(region) != partition:
		return formatError("partition {%s} does not support hostname %s", partition, u.Host)
	}
	return nil
}

// ownHost tells whether clients may know the emulator by this name. Addresses of
// private networks are taken as they are: the emulator sees its own port, not the
// one that a container publishes, and no service of AWS has such an address.
func (a *Authenticator) ownHost(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback() || ip.IsPrivate() || slices.Contains(a.Hosts, host)
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(a.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}
