// Package podidentity decides as whom pods act: what EKS's pod identity webhook puts
// into them for IAM roles for service accounts and for EKS Pod Identity.
//
// It is modelled on aws/amazon-eks-pod-identity-webhook (pkg/handler/handler.go,
// pkg/cache/cache.go), as EKS runs it.
package podidentity

import (
	"encoding/csv"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Annotations of service accounts; the last two are read from pods too.
const (
	AnnotationRole           = "eks.amazonaws.com/role-arn"
	AnnotationAudience       = "eks.amazonaws.com/audience"
	AnnotationRegionalSTS    = "eks.amazonaws.com/sts-regional-endpoints"
	AnnotationExpiration     = "eks.amazonaws.com/token-expiration"
	AnnotationSkipContainers = "eks.amazonaws.com/skip-containers" // of pods only
)

// Label is on pods that use EKS Pod Identity, SkipLabel on those that the webhook is
// to leave alone.
const (
	Label     = "eks.amazonaws.com/pod-identity"
	SkipLabel = "eks.amazonaws.com/skip-pod-identity-webhook"
)

// What containers get, in the order of the SDKs' provider chain: an SDK that finds a
// web identity does not look for container credentials.
const (
	EnvRole      = "AWS_ROLE_ARN"
	EnvTokenFile = "AWS_WEB_IDENTITY_TOKEN_FILE"

	EnvCredentialsURI     = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	EnvAuthorizationToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"

	EnvRegionalSTS   = "AWS_STS_REGIONAL_ENDPOINTS"
	EnvRegion        = "AWS_REGION"
	EnvDefaultRegion = "AWS_DEFAULT_REGION"

	// EnvEndpoint is not EKS's: real pods find AWS by its names.
	EnvEndpoint = "AWS_ENDPOINT_URL"
	// EnvEndpointSTS says it again for STS: the SDK for Go exchanges a web identity token
	// where this one says, and does not look at the other.
	EnvEndpointSTS = "AWS_ENDPOINT_URL_STS"
)

// Audiences of the tokens.
const (
	AudienceSTS  = "sts.amazonaws.com"
	AudiencePods = "pods.eks.amazonaws.com"
)

// The URIs of the agent on each node, by the family of the cluster's addresses.
const (
	AgentURI     = "http://169.254.170.23/v1/credentials"
	AgentURIIPv6 = "http://[fd00:ec2::23]/v1/credentials"
)

const (
	longest = 86400 // EKS's maximum, and the default
	least   = 600   // kube-apiserver's minimum

	// leastByDefault begins the range from which EKS Pod Identity draws the default, so
	// that tokens of pods that were started together do not end together.
	leastByDefault = 79200
)

// mount is one way of giving a pod a token.
type mount struct{ volume, folder, file string }

var (
	webIdentity = mount{"aws-iam-token", "/var/run/secrets/eks.amazonaws.com/serviceaccount", "token"}
	podIdentity = mount{"eks-pod-identity-token", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "eks-pod-identity-token"}
)

// Account is what a service account says.
type Account struct {
	RoleARN     string // empty: none
	Audience    string
	RegionalSTS bool
	Expiration  int64 // seconds
}

// AccountOf reads the annotations of a service account. What cannot be read is as
// if it were not there.
func AccountOf(annotations map[string]string) Account {
	a := Account{RoleARN: annotations[AnnotationRole], Audience: AudienceSTS, RegionalSTS: true, Expiration: longest}
	if v, ok := annotations[AnnotationAudience]; ok {
		a.Audience = v
	}
	if v, err := strconv.ParseBool(annotations[AnnotationRegionalSTS]); err == nil {
		a.RegionalSTS = v
	}
	a.Expiration = expiration(annotations, a.Expiration)
	return a
}

func expiration(annotations map[string]string, otherwise int64) int64 {
	v, err := strconv.ParseInt(annotations[AnnotationExpiration], 10, 64)
	if err != nil {
		return otherwise
	}
	return max(v, least)
}

// Skips tells whether the pod wants a container left alone.
func Skips(pod *corev1.Pod, container string) bool { return skipped(pod)[container] }

// skipped are the containers that the pod wants left alone; none if the list is no
// line of CSV.
func skipped(pod *corev1.Pod) map[string]bool {
	out := map[string]bool{}
	v, ok := pod.Annotations[AnnotationSkipContainers]
	if !ok {
		return out
	}
	names, err := csv.NewReader(strings.NewReader(v)).Read()
	if err != nil {
		return out
	}
	for _, n := range names {
		out[n] = true
	}
	return out
}
