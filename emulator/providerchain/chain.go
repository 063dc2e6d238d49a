// Package providerchain goes the way on which an AWS SDK in a pod comes by credentials,
// and says of each step what happened, who refused and what would help.
//
// The order is that of the SDKs' default chain ("Standardized credential providers",
// AWS SDKs and Tools Reference Guide): the environment, a web identity, container
// credentials, instance metadata. Profiles in files are left out: no file is in a
// simulated container.
package providerchain

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/podidentity"
)

// Container is one container of a pod, with the environment that its processes see.
type Container struct {
	Cluster string
	Region  string
	Pod     *corev1.Pod
	Spec    *corev1.Container
	Env     map[string]string
}

// Got are credentials and whose they are.
type Got struct {
	Identity    api.CredentialIdentity
	Credentials api.Credentials
}

// Fault is why somebody refused.
type Fault struct {
	Err  error    // as the SDK is told it
	Why  string   // what the refusal leaves out
	Mend []string // what would help
}

// World is everybody whom the SDK, or somebody on its behalf, asks.
type World interface {
	// Account is what the pod's service account says now; ok is false if it is gone.
	Account(ctx context.Context) (a podidentity.Account, ok bool, err error)
	// Association is the id of the service account's pod identity association, or "".
	Association(ctx context.Context) string
	// Token is a token of the pod's service account, bound to the pod.
	Token(ctx context.Context, audience string, seconds int64) (string, error)
	// Key finds long-term or temporary credentials.
	Key(ctx context.Context, c api.Credentials) (*Got, *Fault)
	// WebIdentity is sts:AssumeRoleWithWebIdentity.
	WebIdentity(ctx context.Context, roleARN, sessionName, token string) (*Got, *Fault)
	// Agent is nil if the EKS Pod Identity agent runs on the pod's node.
	Agent(ctx context.Context) *Fault
	// PodIdentity is what the agent asks EKS Auth, as the node.
	PodIdentity(ctx context.Context, token string) (*Got, *Fault)
	// Metadata are the credentials of the node's role.
	Metadata(ctx context.Context) (*Got, *Fault)
}

type walk struct {
	c   Container
	w   World
	out *api.PodCredentials
}

// Walk obtains the container's credentials. Its error is one of the emulator: whoever
// refuses credentials is in the answer.
func Walk(ctx context.Context, c Container, w World) (*api.PodCredentials, error) {
	x := walk{c, w, &api.PodCredentials{
		Cluster: c.Cluster, Namespace: c.Pod.Namespace, Pod: c.Pod.Name, Container: c.Spec.Name,
		ServiceAccount: c.Pod.Spec.ServiceAccountName, Node: c.Pod.Spec.NodeName,
	}}
	if err := x.webhook(ctx); err != nil {
		return nil, err
	}
	for _, provider := range []func(context.Context) (end bool, err error){x.environment, x.webIdentity, x.container, x.metadata} {
		if end, err := provider(ctx); end || err != nil {
			return x.out, err
		}
	}
	return x.out, nil
}

func (x *walk) step(name string, o api.Outcome, format string, args ...any) *api.CredentialStep {
	x.out.Steps = append(x.out.Steps, api.CredentialStep{Name: name, Outcome: o, Text: fmt.Sprintf(format, args...)})
	return &x.out.Steps[len(x.out.Steps)-1]
}

func (x *walk) refused(name, text string, f *Fault) {
	s := x.step(name, api.StepRefused, "%s", text)
	if f.Why != "" {
		s.Text += ": " + f.Why
	}
	s.Error, s.Mend = f.Err.Error(), f.Mend
}

func (x *walk) done(name string, got *Got, format string, args ...any) {
	x.step(name, api.StepDone, format, args...)
	x.out.Identity, x.out.Credentials = &got.Identity, &got.Credentials
}

func (x *walk) account() string { return x.c.Pod.Namespace + "/" + x.c.Pod.Spec.ServiceAccountName }

// recreate is the mend of a pod that was made too early.
func (x *walk) recreate() string {
	return fmt.Sprintf("kubectl -n %s delete pod %s   # its controller makes another, which the webhook changes", x.c.Pod.Namespace, x.c.Pod.Name)
}

// webhook compares what the webhook would give the container now with what it has.
func (x *walk) webhook(ctx context.Context) error {
	const name = "webhook"
	a, ok, err := x.w.Account(ctx)
	if err != nil {
		return err
	}
	association := x.w.Association(ctx)
	env := x.c.Env
	switch {
	case !ok:
		x.step(name, api.StepWarned, "the service account %s is not there any more", x.account())
	case association != "" && env[podidentity.EnvCredentialsURI] != "":
		x.step(name, api.StepDone, "association %s of service account %s: %s and a token for %s are in the container", association, x.account(), podidentity.EnvCredentialsURI, podidentity.AudiencePods)
	case association != "":
		x.missed(name, fmt.Sprintf("service account %s has association %s, and the container has no %s", x.account(), association, podidentity.EnvCredentialsURI))
	case a.RoleARN != "" && env[podidentity.EnvRole] == a.RoleARN:
		x.step(name, api.StepDone, "annotation %s of service account %s: %s and a token for %s are in the container", podidentity.AnnotationRole, x.account(), podidentity.EnvRole, a.Audience)
	case a.RoleARN != "" && env[podidentity.EnvRole] != "":
		x.missed(name, fmt.Sprintf("service account %s has the role %s now, and the container %s", x.account(), a.RoleARN, env[podidentity.EnvRole]))
	case a.RoleARN != "":
		x.missed(name, fmt.Sprintf("service account %s has the role %s, and the container has no %s", x.account(), a.RoleARN, podidentity.EnvRole))
	case env[podidentity.EnvRole] != "" || env[podidentity.EnvCredentialsURI] != "":
		x.step(name, api.StepSkipped, "service account %s has neither the annotation %s nor an association now; what the container has is older, or its own", x.account(), podidentity.AnnotationRole)
	default:
		s := x.step(name, api.StepSkipped, "service account %s has neither the annotation %s nor a pod identity association", x.account(), podidentity.AnnotationRole)
		s.Mend = []string{
			fmt.Sprintf("kubectl -n %s annotate serviceaccount %s %s=ROLE_ARN   # IRSA", x.c.Pod.Namespace, x.c.Pod.Spec.ServiceAccountName, podidentity.AnnotationRole),
			fmt.Sprintf("aws eks create-pod-identity-association --cluster-name %s --namespace %s --service-account %s --role-arn ROLE_ARN   # EKS Pod Identity", x.c.Cluster, x.c.Pod.Namespace, x.c.Pod.Spec.ServiceAccountName),
		}
	}
	return nil
}

// missed says why the webhook did not change the container.
func (x *walk) missed(name, what string) {
	s := x.step(name, api.StepWarned, "%s", what)
	_, skip := x.c.Pod.Labels[podidentity.SkipLabel]
	skipped := podidentity.Skips(x.c.Pod, x.c.Spec.Name)
	switch {
	case skip:
		s.Text += ": the pod's label " + podidentity.SkipLabel + " keeps the webhook away"
		s.Mend = []string{"remove the label from the pod's template"}
	case skipped:
		s.Text += ": the pod's annotation " + podidentity.AnnotationSkipContainers + " names the container"
		s.Mend = []string{"take the container out of the annotation in the pod's template"}
	default:
		s.Text += ": the pod is older than that, and only new pods are changed"
		s.Mend = []string{x.recreate()}
	}
}

// environment is static credentials in variables.
func (x *walk) environment(ctx context.Context) (bool, error) {
	c := api.Credentials{AccessKeyID: x.c.Env["AWS_ACCESS_KEY_ID"], SecretAccessKey: x.c.Env["AWS_SECRET_ACCESS_KEY"], SessionToken: x.c.Env["AWS_SESSION_TOKEN"]}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		x.step("environment", api.StepSkipped, "no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the container")
		return false, nil
	}
	got, fault := x.w.Key(ctx, c)
	if fault != nil {
		x.refused("environment", "the container's AWS_ACCESS_KEY_ID comes before everything else", fault)
		return true, nil
	}
	x.done("environment", got, "the container's AWS_ACCESS_KEY_ID comes before everything else")
	return true, nil
}

// projected finds the token volume that has a file of the container.
func (x *walk) projected(file string) *corev1.ServiceAccountTokenProjection {
	if p, ok := strings.CutPrefix(file, "C:"); ok {
		file = strings.ReplaceAll(p, `\`, "/")
	}
	for _, m := range x.c.Spec.VolumeMounts {
		for i := range x.c.Pod.Spec.Volumes {
			v := &x.c.Pod.Spec.Volumes[i]
			if v.Name != m.Name || v.Projected == nil {
				continue
			}
			for _, s := range v.Projected.Sources {
				if t := s.ServiceAccountToken; t != nil && path.Join(m.MountPath, t.Path) == path.Clean(file) {
					return t
				}
			}
		}
	}
	return nil
}

// token reads the token that the kubelet would have put into the file. It answers ""
// after a refusal.
func (x *walk) token(ctx context.Context, file string) (string, error) {
	t := x.projected(file)
	if t == nil {
		x.refused("token", "no projected service account token is mounted there", &Fault{
			Err: fmt.Errorf("open %s: no such file or directory", file), Mend: []string{"leave the variable to the webhook, or mount a projected serviceAccountToken at that path"},
		})
		return "", nil
	}
	audience, seconds := t.Audience, int64(3600)
	if t.ExpirationSeconds != nil {
		seconds = *t.ExpirationSeconds
	}
	token, err := x.w.Token(ctx, audience, seconds)
	if err != nil {
		return "", err
	}
	x.step("token", api.StepDone, "%s: service account %s, audience %s, for %d s, bound to the pod", file, x.account(), audience, seconds)
	return token, nil
}

func (x *walk) webIdentity(ctx context.Context) (bool, error) {
	role, file := x.c.Env[podidentity.EnvRole], x.c.Env[podidentity.EnvTokenFile]
	switch {
	case role == "" && file == "":
		x.step("web identity", api.StepSkipped, "no %s and %s in the container", podidentity.EnvRole, podidentity.EnvTokenFile)
		return false, nil
	case role == "" || file == "":
		x.step("web identity", api.StepWarned, "only one of %s and %s is in the container: SDKs need both", podidentity.EnvRole, podidentity.EnvTokenFile)
		return false, nil
	}
	x.step("web identity", api.StepDone, "%s=%s: the SDK goes to STS with the token", podidentity.EnvRole, role)
	token, err := x.token(ctx, file)
	if token == "" {
		return true, err
	}
	session := x.c.Env["AWS_ROLE_SESSION_NAME"]
	if session == "" {
		session = "ekslocal-pod-credentials" // SDKs make one up
	}
	got, fault := x.w.WebIdentity(ctx, role, session, token)
	if fault != nil {
		x.refused("sts", "AssumeRoleWithWebIdentity", fault)
		return true, nil
	}
	x.done("sts", got, "AssumeRoleWithWebIdentity: the provider knows the token, and the role trusts it")
	return true, nil
}

func (x *walk) container(ctx context.Context) (bool, error) {
	uri, file := x.c.Env[podidentity.EnvCredentialsURI], x.c.Env[podidentity.EnvAuthorizationToken]
	switch uri {
	case "":
		x.step("container credentials", api.StepSkipped, "no %s in the container", podidentity.EnvCredentialsURI)
		return false, nil
	case podidentity.AgentURI, podidentity.AgentURIIPv6:
	default:
		x.refused("container credentials", podidentity.EnvCredentialsURI+" is not the EKS Pod Identity agent's", &Fault{Err: fmt.Errorf("get %s: ekslocal simulates no such server", uri)})
		return true, nil
	}
	x.step("container credentials", api.StepDone, "%s=%s: the SDK asks the agent on the node", podidentity.EnvCredentialsURI, uri)
	token, err := x.token(ctx, file)
	if token == "" {
		return true, err
	}
	if fault := x.w.Agent(ctx); fault != nil {
		x.refused("agent", "nobody answers at "+uri, fault)
		return true, nil
	}
	x.step("agent", api.StepDone, "the EKS Pod Identity agent runs on the node and asks EKS Auth")
	got, fault := x.w.PodIdentity(ctx, token)
	if fault != nil {
		x.refused("eks-auth", "AssumeRoleForPodIdentity", fault)
		return true, nil
	}
	x.done("eks-auth", got, "AssumeRoleForPodIdentity: the association's role trusts %s", podidentity.AudiencePods)
	return true, nil
}

func (x *walk) metadata(ctx context.Context) (bool, error) {
	if v := x.c.Env["AWS_EC2_METADATA_DISABLED"]; strings.EqualFold(v, "true") {
		x.refused("instance metadata", "AWS_EC2_METADATA_DISABLED is true: the SDK does not ask", &Fault{Err: ErrNoCredentials})
		return true, nil
	}
	got, fault := x.w.Metadata(ctx)
	if fault != nil {
		x.refused("instance metadata", "the last provider of the chain", fault)
		return true, nil
	}
	x.done("instance metadata", got, "nothing before had credentials: these are the node's, which every pod on it can have")
	x.out.Steps[len(x.out.Steps)-1].Outcome = api.StepWarned
	return true, nil
}

// ErrNoCredentials is what is left to say at the end of the chain, in botocore's words.
var ErrNoCredentials = errors.New("Unable to locate credentials") //nolint:staticcheck // theirs
