package integration

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What SDKs do for their credentials, by a shell: the second asks the agent of the node.
// Who closes its side of the connection has given up, to a server: hence the pause.
const (
	irsaScript = `body="Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=pod&RoleArn=$AWS_ROLE_ARN&WebIdentityToken=$(cat $AWS_WEB_IDENTITY_TOKEN_FILE)"
host=${AWS_ENDPOINT_URL#http://}
{ printf 'POST / HTTP/1.0\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s' "$host" "${#body}" "$body"; sleep 2; } | nc -w 5 "${host%:*}" "${host#*:}"`
	agentScript = `{ printf 'GET /v1/credentials HTTP/1.0\r\nHost: 169.254.170.23\r\nAuthorization: %s\r\n\r\n' "$(cat $AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)"; sleep 2; } | nc -w 5 169.254.170.23 80`
)

// insidePods: a real pod comes by the credentials of its role, both ways, and may with
// them what the role may.
func (c *control) insidePods(t *testing.T) {
	c.startNodegroup(t, "real", "ng", 1, func(in *eks.CreateNodegroupInput) { in.Subnets = c.subnets[:1] })
	eventually(t, 4*time.Minute, "the node group is ACTIVE", func() error {
		if s := c.nodegroupNow(t, "real", "ng").Status; s != ekstypes.NodegroupStatusActive {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	must(c.eks.CreateAddon(t.Context(), &eks.CreateAddonInput{ClusterName: c.cluster.Name, AddonName: aws.String("eks-pod-identity-agent")}))(t)
	for account, how := range map[string]struct {
		script  string
		pattern *regexp.Regexp
	}{
		"reader":     {irsaScript, regexp.MustCompile(`(?s)<AccessKeyId>(.*?)</AccessKeyId>.*<SecretAccessKey>(.*?)</SecretAccessKey>.*<SessionToken>(.*?)</SessionToken>`)},
		"associated": {agentScript, regexp.MustCompile(`"AccessKeyId":"(.*?)","SecretAccessKey":"(.*?)","Token":"(.*?)"`)},
	} {
		t.Run(account, func(t *testing.T) { c.insidePod(t, account, how.script, how.pattern) })
	}
}

func (c *control) insidePod(t *testing.T, account, script string, pattern *regexp.Regexp) {
	ctx := t.Context()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: account}, Spec: corev1.PodSpec{
		ServiceAccountName: account, RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: aws.Int64(0),
		Containers: []corev1.Container{{Name: "sdk", Image: "docker.io/library/busybox:latest", ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"sh", "-c", "until out=$(" + script + ") && [ -n \"$out\" ]; do sleep 1; done; echo \"$out\""}}},
	}}
	must(c.k.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}))(t)
	var said []byte
	eventually(t, 2*time.Minute, "the pod has asked", func() error {
		p := must(c.k.CoreV1().Pods("default").Get(ctx, account, metav1.GetOptions{}))(t)
		if p.Status.Phase != corev1.PodSucceeded {
			return fmt.Errorf("it is %s", p.Status.Phase)
		}
		var err error
		said, err = c.k.CoreV1().Pods("default").GetLogs(account, &corev1.PodLogOptions{}).DoRaw(ctx)
		return err
	})
	key := pattern.FindSubmatch(said)
	if key == nil {
		t.Fatalf("the answer is %s", said)
	}
	cfg := c.config()
	cfg.BaseEndpoint, cfg.Credentials = &c.inside, credentials.NewStaticCredentialsProvider(string(key[1]), string(key[2]), string(key[3]))
	if got := must(ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(parameter)}))(t); *got.Parameter.Value != "hunter2" {
		t.Errorf("the parameter is %s", *got.Parameter.Value)
	}
}
