// Package admin is the emulator's own REST API, served under /_ekslocal/: its
// types and a client for it.
package admin

import "time"

// Prefix is the path below which the API is served.
const Prefix = "/_ekslocal"

// IntentHeader must be set, to anything, on requests that change something. A
// web page that a user happens to have open can post to loopback, but not with a
// header of its own choice.
const IntentHeader = "X-Ekslocal-Intent"

// Health is the answer of GET /_ekslocal/health.
type Health struct {
	// Status is "running"; "starting" and "stopping" come with status 503.
	Status  string `json:"status"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Services maps a service ("eks") to how it is doing.
	Services map[string]Service `json:"services"`
	Clusters int                `json:"clusters"`
}

// Running is the Status of a healthy emulator.
const Running = "running"

// Service is one emulated AWS service.
type Service struct {
	Status     string `json:"status"` // "available"
	Operations int    `json:"operations"`
}

// Status is the answer of GET /_ekslocal/status.
type Status struct {
	Version  string `json:"version"`
	Endpoint string `json:"endpoint"`
	// ContainerEndpoint is where containers of kind clusters reach AWS's APIs, empty
	// before the first of those.
	ContainerEndpoint string    `json:"containerEndpoint,omitempty"`
	PID               int       `json:"pid"`
	StartedAt         time.Time `json:"startedAt"`
	Uptime            Seconds   `json:"uptimeSeconds"`
	// DataDir is where the state is kept; an ephemeral emulator deletes it.
	DataDir   string `json:"dataDir"`
	Ephemeral bool   `json:"ephemeral"`
	// IAM is what becomes of AWS calls that IAM would refuse: enforce, audit or off.
	IAM string `json:"iam"`
	// MemoryBytes is the daemon's own resident memory, without the clusters'.
	MemoryBytes int64     `json:"memoryBytes"`
	Store       Store     `json:"store"`
	Clusters    []Cluster `json:"clusters"`
}

// Seconds is a duration, in JSON a number of seconds.
type Seconds float64

// Duration converts to Go's type.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// Store is how the database is doing.
type Store struct {
	Revision   int64 `json:"revision"`
	SizeBytes  int64 `json:"sizeBytes"`
	InUseBytes int64 `json:"inUseBytes"`
	QuotaBytes int64 `json:"quotaBytes"`
	// Alarms are "NOSPACE" (no writes are taken) and "CORRUPT".
	Alarms []string `json:"alarms,omitempty"`
}

// Cluster is one EKS cluster and what runs in it.
type Cluster struct {
	Account  string `json:"account"`
	Region   string `json:"region"`
	Name     string `json:"name"`
	Status   string `json:"status"` // EKS's: CREATING, ACTIVE, ...
	Version  string `json:"version"`
	Endpoint string `json:"endpoint,omitempty"`
	// Nodes and Pods count what the cluster's API server holds.
	Nodes Count `json:"nodes"`
	Pods  Count `json:"pods"`
	// IPs are the addresses in use, and all there are but the five that AWS keeps, in
	// the subnets that the cluster uses: see SubnetUse.Clusters.
	IPs IPs `json:"ips"`
	// PID and MemoryBytes are the control plane's; 0 when it does not run.
	PID         int       `json:"pid,omitempty"`
	MemoryBytes int64     `json:"memoryBytes,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
}

// Count is how many there are and how many of them are well: nodes Ready, pods
// Running or Succeeded.
type Count struct {
	Total int `json:"total"`
	Ready int `json:"ready"`
}

// IPs counts addresses.
type IPs struct {
	Used  int `json:"used"`
	Total int `json:"total"`
}

// Sessions is the answer of GET /_ekslocal/sessions: the temporary credentials that
// have not ended, without their secrets.
type Sessions struct {
	// Time is the emulator's own.
	Time     time.Time `json:"time"`
	Sessions []Session `json:"sessions"`
}

// Session is one set of temporary credentials.
type Session struct {
	AccessKeyID string `json:"accessKeyId"`
	Account     string `json:"account"`
	ARN         string `json:"arn"`
	// Operation made the session: AssumeRole, AssumeRoleWithWebIdentity,
	// AssumeRoleForPodIdentity, GetSessionToken or GetFederationToken.
	Operation string `json:"operation"`
	// By is who asked for it: an ARN, the subject of a token, or an AWS service.
	By      string    `json:"by"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	// StatusCode is HTTP's; it is not in the body.
	StatusCode int    `json:"-"`
	Code       string `json:"code"`
	Message    string `json:"message"`
}

func (e *Error) Error() string { return e.Message }
