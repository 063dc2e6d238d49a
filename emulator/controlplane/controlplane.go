// Package controlplane is the contract between EKS clusters and what runs their
// Kubernetes API server: the embedded backend, kind, or a fake for tests.
package controlplane

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/client-go/rest"
)

// ErrNotFound is what Get, Upgrade and Logs answer for a control plane that
// does not exist. Delete of one that does not exist is not an error.
var ErrNotFound = errors.New("control plane not found")

// Spec is what a control plane is made from. It does not change during the
// control plane's life, but for Version and the certificate authorities (Upgrade).
type Spec struct {
	// ID is unique among all control planes of all emulators on one machine: 32
	// hexadecimal digits, the cluster's OIDC id. Keys, files and processes are
	// named after it.
	ID string
	// Name is the EKS cluster's name, for logs and the kubernetes tags only.
	Name string
	// Backend names what the control plane runs on where there is a choice
	// (package backends); empty is the usual one. It stays what it is.
	Backend string
	// Version is the Kubernetes minor version, such as "1.34".
	Version string
	// ServiceCIDR is the cluster's service network, IPv4 or IPv6.
	ServiceCIDR string
	// Port is the TCP port on which the API server listens, on the backend's
	// listen address. It stays the cluster's own across restarts.
	Port int
	// Issuer is the service-account issuer, an https URL ending in ID.
	Issuer string
	// Rollback lets Upgrade go to an older version, as EKS's version rollback does.
	Rollback bool
	// PKI is the cluster's key material; the caller keeps it, so that a control
	// plane made again from the same Spec accepts the same clients.
	PKI PKI
}

// PKI is a cluster's key material, all PEM.
type PKI struct {
	CACert, CAKey []byte // the cluster's CA, which signs
	SAKey         []byte // RSA key that signs service-account tokens
	// Trust is all CAs that the cluster trusts while one takes over from another;
	// empty: CACert alone.
	Trust []byte
}

// Bundle is the CAs that the cluster trusts, and that its clients need.
func (p PKI) Bundle() []byte {
	if len(p.Trust) > 0 {
		return p.Trust
	}
	return p.CACert
}

// Equal tells whether both make the same control plane.
func (p PKI) Equal(q PKI) bool {
	return bytes.Equal(p.CACert, q.CACert) && bytes.Equal(p.CAKey, q.CAKey) && bytes.Equal(p.SAKey, q.SAKey) && bytes.Equal(p.Bundle(), q.Bundle())
}

// Info is what a running control plane looks like from outside.
type Info struct {
	// Version as the API server reports it, such as "v1.34.2-eks-...".
	GitVersion string
	// Admin is a client configuration with full rights (group system:masters)
	// for the emulator's own loops. Callers may copy and change it.
	Admin *rest.Config
	// PID is the process that serves it, 0 if unknown. RSS is its memory in bytes.
	PID int
	RSS int64
	// StartedAt is when this process became ready.
	StartedAt time.Time
	// Data names the place where the control plane keeps its objects: another name than
	// before is another, empty place, made because the one before was lost. It stays empty
	// with backends that lose none, and until the first loss with control planes of
	// earlier emulators.
	Data string
}

// LogStream names one of EKS's control-plane log types.
type LogStream string

// The log types of EKS (eks types.LogType).
const (
	LogAPI               LogStream = "api"
	LogAudit             LogStream = "audit"
	LogAuthenticator     LogStream = "authenticator"
	LogControllerManager LogStream = "controllerManager"
	LogScheduler         LogStream = "scheduler"
)

// Backend runs control planes. All methods are idempotent and may be called
// again after the emulator was killed in the middle of an earlier call. They
// return when the work is done or ctx ends.
type Backend interface {
	// Create makes the control plane run: a new one, one whose process is gone,
	// or none of that if it runs. It returns when the API server is ready and
	// authenticates tokens.
	Create(ctx context.Context, spec Spec) (Info, error)
	// Get answers ErrNotFound for a control plane that does not run.
	Get(ctx context.Context, id string) (Info, error)
	// Upgrade replaces the running control plane by one of spec.Version and spec.PKI
	// on the same data and the same port; clients see at most a GOAWAY, and those that
	// do not trust another signer its certificate. An older version takes
	// spec.Rollback. After another PKI, Info.Admin is another one too.
	Upgrade(ctx context.Context, spec Spec) (Info, error)
	// Delete stops the control plane and removes its data.
	Delete(ctx context.Context, id string) error
	// Logs streams a component's log from its beginning.
	Logs(ctx context.Context, id string, s LogStream) (io.ReadCloser, error)
	// Versions are the Kubernetes minor versions that Create takes, oldest first.
	Versions() []string
	// Close stops every control plane and keeps the data.
	Close() error
}

// Auditor is a Backend whose API servers write the audit log that EKS delivers only
// while somebody wants it, and a shorter one else. Of others it is always the former.
type Auditor interface {
	// Audit takes effect at once and stays for the control plane's processes to come.
	// It answers ErrNotFound for one that does not run.
	Audit(ctx context.Context, id string, full bool) error
}

// Tailer is a Backend whose logs can be followed across restarts of the emulator.
type Tailer interface {
	// Tail opens a log where an earlier Tail's Position was, at its beginning ("") or
	// at its present end (TailEnd). A place that is no longer there is the oldest that is.
	Tail(ctx context.Context, id string, s LogStream, position string) (Tail, error)
}

// TailEnd is the position behind everything that was logged so far.
const TailEnd = "end"

// Tail reads a log's lines as they come. One goroutine may use it.
type Tail interface {
	// Lines returns whole lines that were logged since, without their ends and of
	// about limit bytes at most; none if there are no more at the moment. It does not wait
	// for lines, but for whoever has the log: not longer than ctx.
	Lines(ctx context.Context, limit int) ([]string, error)
	// Position is behind the last line that Lines returned.
	Position() string
	Close() error
}

// Reserver is a Backend that keeps control planes started for clusters to come.
// Whoever makes a cluster asks it first, takes what it is given into the cluster's
// Spec and calls Create, which then takes next to no time.
type Reserver interface {
	// Reserve hands out a control plane that fits, or ok=false if there is none at
	// the moment. It belongs to nobody again unless Create follows within two minutes,
	// and Create with that Spec works even then, only slower.
	Reserve(ctx context.Context, version, serviceCIDR string) (r Reservation, ok bool)
}

// Reservation is the part of a Spec that a control plane started ahead has fixed.
type Reservation struct {
	ID     string
	Issuer string
	PKI    PKI
}

// Identity is who a bearer token belongs to.
type Identity struct {
	Username string
	UID      string
	Groups   []string
	Extra    map[string][]string
}

// Denied is why a token of ours was refused, for the authenticator's log.
type Denied struct {
	// Reason is aws-iam-authenticator's where it has one.
	Reason string
	// Extra is who signed the token, as in Identity; empty while that is not known.
	Extra map[string][]string
}

// Error implements error.
func (d *Denied) Error() string { return d.Reason }

// Attributes is one authorization question, as in a SubjectAccessReview.
type Attributes struct {
	Username    string
	Groups      []string
	Extra       map[string][]string
	Verb        string
	APIGroup    string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	// Path is set for non-resource requests instead of the resource fields.
	Path string
}

// Authenticator answers the API servers' questions about AWS identities. It is
// asked from several goroutines, on every request that no cache answers.
type Authenticator interface {
	// Authenticate returns ok=false for a token that is not ours, and with a *Denied
	// for one that is and is refused: the API server then answers 401. Any other
	// error is a failure of the emulator.
	Authenticate(ctx context.Context, clusterID, token string) (id Identity, ok bool, err error)
	// Authorize tells whether an EKS access policy allows the request; false is
	// no opinion, for RBAC has been asked already.
	Authorize(ctx context.Context, clusterID string, a Attributes) (allowed bool, reason string, err error)
}

// AdmissionHost is the host of the URLs of webhooks that EKS itself puts into
// clusters. Nothing listens there: API servers ask the Admitter instead.
const AdmissionHost = "127.0.0.1:21362"

// PodIdentityHost is that of the pod identity webhook: EKS has two.
const PodIdentityHost = "127.0.0.1:23443"

// Admitter answers the admission webhooks at AdmissionHost and PodIdentityHost.
type Admitter interface {
	// Admit is asked on behalf of the webhook whose URL has the path. An error is one
	// of calling the webhook, on which its failurePolicy decides.
	Admit(ctx context.Context, clusterID, path string, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error)
}

// DeprecatedUse counts one client's requests to one deprecated API since the last
// report.
type DeprecatedUse struct {
	Group, Version, Resource string
	// RemovedRelease is the minor version without the API, such as 1.38, empty if
	// none is named.
	RemovedRelease string
	UserAgent      string
	Count          int32
	Last           time.Time
}

// UsageRecorder keeps what API servers report of deprecated APIs.
type UsageRecorder interface {
	RecordDeprecated(ctx context.Context, clusterID string, uses []DeprecatedUse) error
}
