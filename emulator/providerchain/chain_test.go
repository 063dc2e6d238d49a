package providerchain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/ekslocal/ekslocal/api/admin"
	"github.com/ekslocal/ekslocal/emulator/podidentity"
)

// world answers with what it is made of.
type world struct {
	annotations map[string]string
	gone        bool
	association string
	agent       *Fault
	refuse      *Fault // sts, EKS Auth and the metadata
	tokens      []string
}

func (w *world) Account(context.Context) (podidentity.Account, bool, error) {
	return podidentity.AccountOf(w.annotations), !w.gone, nil
}
func (w *world) Association(context.Context) string { return w.association }
func (w *world) Token(_ context.Context, audience string, seconds int64) (string, error) {
	w.tokens = append(w.tokens, fmt.Sprintf("%s %d", audience, seconds))
	return "token", nil
}

func (w *world) answer(arn string) (*Got, *Fault) {
	if w.refuse != nil {
		return nil, w.refuse
	}
	return &Got{Identity: api.CredentialIdentity{ARN: arn}, Credentials: api.Credentials{AccessKeyID: "ASIA"}}, nil
}
func (w *world) Key(_ context.Context, c api.Credentials) (*Got, *Fault) {
	return w.answer("key " + c.AccessKeyID)
}
func (w *world) WebIdentity(_ context.Context, role, _, token string) (*Got, *Fault) {
	return w.answer("web " + role + " " + token)
}
func (w *world) Agent(context.Context) *Fault { return w.agent }
func (w *world) PodIdentity(_ context.Context, token string) (*Got, *Fault) {
	return w.answer("agent " + token)
}
func (w *world) Metadata(context.Context) (*Got, *Fault) { return w.answer("node") }

const role = "arn:aws:iam::111122223333:role/cart"

// container is one that the webhook changed in one of its ways.
func container(volume, audience, folder, file string, env ...string) Container {
	seconds := int64(86400)
	c := Container{
		Cluster: "dev", Env: map[string]string{},
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-1", Labels: map[string]string{}, Annotations: map[string]string{}},
			Spec:       corev1.PodSpec{ServiceAccountName: "cart", NodeName: "n"},
		},
		Spec: &corev1.Container{Name: "app"},
	}
	for i := 0; i < len(env); i += 2 {
		c.Env[env[i]] = env[i+1]
	}
	if volume != "" {
		c.Spec.VolumeMounts = []corev1.VolumeMount{{Name: "other", MountPath: "/x"}, {Name: volume, MountPath: folder}}
		c.Pod.Spec.Volumes = []corev1.Volume{{Name: "other"}, {Name: volume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{}, {ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: &seconds, Path: file}}},
		}}}}
	}
	return c
}

func irsa(more ...string) Container {
	return container("aws-iam-token", "sts.amazonaws.com", "/var/run/secrets/eks.amazonaws.com/serviceaccount", "token",
		append([]string{"AWS_ROLE_ARN", role, "AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"}, more...)...)
}

func agent() Container {
	return container("eks-pod-identity-token", "pods.eks.amazonaws.com", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "eks-pod-identity-token",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", podidentity.AgentURI, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token")
}

func TestWalk(t *testing.T) {
	annotated := map[string]string{podidentity.AnnotationRole: role}
	no := &Fault{Err: errors.New("AccessDenied: no"), Why: "because", Mend: []string{"do"}}
	both := agent()
	both.Env["AWS_ROLE_ARN"], both.Env["AWS_WEB_IDENTITY_TOKEN_FILE"] = role, "/nowhere"
	windows := irsa()
	windows.Env["AWS_WEB_IDENTITY_TOKEN_FILE"] = `C:\var\run\secrets\eks.amazonaws.com\serviceaccount\token`
	skip := container("", "", "", "")
	skip.Pod.Annotations[podidentity.AnnotationSkipContainers] = "app"
	label := container("", "", "", "")
	label.Pod.Labels[podidentity.SkipLabel] = "true"
	bare := func(env ...string) Container { return container("", "", "", "", env...) }
	for _, tt := range []struct {
		name  string
		c     Container
		w     world
		steps string // name:outcome of each
		arn   string // empty: refused
		text  string // a part of the last step, or of the first if it warned
	}{
		{"IRSA", irsa(), world{annotations: annotated}, "webhook:done environment:skipped web identity:done token:done sts:done", "web " + role + " token", "trusts it"},
		{"IRSA on Windows", windows, world{annotations: annotated}, "webhook:done environment:skipped web identity:done token:done sts:done", "web " + role + " token", ""},
		{"IRSA refused", irsa(), world{annotations: annotated, refuse: no}, "webhook:done environment:skipped web identity:done token:done sts:refused", "", "AssumeRoleWithWebIdentity: because"},
		{"Pod Identity", agent(), world{association: "a-1"},
			"webhook:done environment:skipped web identity:skipped container credentials:done token:done agent:done eks-auth:done", "agent token", "trusts pods.eks"},
		{"no agent", agent(), world{association: "a-1", agent: no},
			"webhook:done environment:skipped web identity:skipped container credentials:done token:done agent:refused", "", "nobody answers at http://169.254.170.23"},
		{"EKS Auth refuses", agent(), world{association: "a-1", refuse: no},
			"webhook:done environment:skipped web identity:skipped container credentials:done token:done agent:done eks-auth:refused", "", "because"},
		{"a web identity comes before the agent, and fails for it", both, world{association: "a-1"},
			"webhook:done environment:skipped web identity:done token:refused", "", "no projected service account token"},
		{"static credentials come before everything", irsa("AWS_ACCESS_KEY_ID", "AKIA", "AWS_SECRET_ACCESS_KEY", "s"), world{annotations: annotated},
			"webhook:done environment:done", "key AKIA", "before everything else"},
		{"static credentials that nobody knows", bare("AWS_ACCESS_KEY_ID", "AKIA", "AWS_SECRET_ACCESS_KEY", "s"), world{refuse: no},
			"webhook:skipped environment:refused", "", "because"},
		{"half of a web identity", bare("AWS_ROLE_ARN", role), world{}, "webhook:skipped environment:skipped web identity:warned container credentials:skipped instance metadata:warned", "node", "the node's"},
		{"the node's role", bare(), world{}, "webhook:skipped environment:skipped web identity:skipped container credentials:skipped instance metadata:warned", "node", "every pod"},
		{"not even that", bare(), world{refuse: no}, "webhook:skipped environment:skipped web identity:skipped container credentials:skipped instance metadata:refused", "", "because"},
		{"no metadata by choice", bare("AWS_EC2_METADATA_DISABLED", "TRUE"), world{},
			"webhook:skipped environment:skipped web identity:skipped container credentials:skipped instance metadata:refused", "", "does not ask"},
		{"another container provider", bare("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost/x"), world{},
			"webhook:skipped environment:skipped web identity:skipped container credentials:refused", "", "not the EKS Pod Identity agent's"},
		{"a pod older than the annotation", bare(), world{annotations: annotated},
			"webhook:warned environment:skipped web identity:skipped container credentials:skipped instance metadata:warned", "node", "the pod is older than that"},
		{"a pod older than the association", bare(), world{association: "a-1"},
			"webhook:warned environment:skipped web identity:skipped container credentials:skipped instance metadata:warned", "node", "has association a-1, and the container has no"},
		{"a container left alone", skip, world{annotations: annotated},
			"webhook:warned environment:skipped web identity:skipped container credentials:skipped instance metadata:warned", "node", "skip-containers names the container"},
		{"a pod left alone", label, world{annotations: annotated},
			"webhook:warned environment:skipped web identity:skipped container credentials:skipped instance metadata:warned", "node", "keeps the webhook away"},
		{"another role by now", irsa(), world{annotations: map[string]string{podidentity.AnnotationRole: role + "2"}},
			"webhook:warned environment:skipped web identity:done token:done sts:done", "web " + role + " token", "cart2 now"},
		{"no service account", irsa(), world{gone: true}, "webhook:warned environment:skipped web identity:done token:done sts:done", "web " + role + " token", "not there any more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Walk(t.Context(), tt.c, &tt.w)
			if err != nil {
				t.Fatal(err)
			}
			var steps []string
			for _, s := range got.Steps {
				steps = append(steps, s.Name+":"+string(s.Outcome))
				if (s.Outcome == api.StepRefused) != (s.Error != "") {
					t.Errorf("step %s is %s with error %q", s.Name, s.Outcome, s.Error)
				}
			}
			if d := cmp.Diff(tt.steps, strings.Join(steps, " ")); d != "" {
				t.Error(d)
			}
			arn := ""
			if got.Identity != nil {
				arn = got.Identity.ARN
			}
			if arn != tt.arn || (got.Credentials != nil) != (tt.arn != "") {
				t.Errorf("identity %q, want %q", arn, tt.arn)
			}
			text := got.Steps[len(got.Steps)-1].Text
			if got.Steps[0].Outcome == api.StepWarned {
				text = got.Steps[0].Text
			}
			if !strings.Contains(text, tt.text) {
				t.Errorf("%q is not in %q", tt.text, text)
			}
		})
	}
}

// TestTokenIsTheProjectedOne: as long and for whom the volume says.
func TestTokenIsTheProjectedOne(t *testing.T) {
	w := &world{annotations: map[string]string{podidentity.AnnotationRole: role}}
	c := irsa()
	short := int64(700)
	p := c.Pod.Spec.Volumes[1].Projected.Sources[1].ServiceAccountToken
	p.Audience, p.ExpirationSeconds = "other", &short
	if _, err := Walk(t.Context(), c, w); err != nil {
		t.Fatal(err)
	}
	p.ExpirationSeconds = nil
	if _, err := Walk(t.Context(), c, w); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"other 700", "other 3600"}, w.tokens); d != "" {
		t.Error(d)
	}
}
