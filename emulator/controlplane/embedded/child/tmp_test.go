package child_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"github.com/ekslocal/ekslocal/emulator/controlplane/conformance"
)

func TestTmp(t *testing.T) {
	b := newBackend(t, startEtcd(t), nil)
	ctx := testContext(t)
	spec := conformance.NewSpec(t, "idle", "1.34")
	info, err := b.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	c := kubernetes.NewForConfigOrDie(info.Admin)
	show := func(what string) {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", info.PID))
		for l := range strings.Lines(string(text)) {
			if strings.HasPrefix(l, "Rss") || strings.HasPrefix(l, "VmHWM") {
				fmt.Print(what, " ", l)
			}
		}
	}
	show("start")
	switch os.Getenv("K") {
	case "v3":
		x, err := c.Discovery().OpenAPIV3().Paths()
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range x {
			v.Schema("application/com.github.proto-openapi.spec.v3@v1.0+protobuf")
		}
	case "v2":
		c.Discovery().RESTClient().Get().AbsPath("/openapi/v2").DoRaw(ctx)
	case "pods":
		for i := range 300 {
			c.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
		}
	}
	show("after")
	time.Sleep(13 * time.Second)
	show("13s")
	time.Sleep(27 * time.Second)
	show("40s")
}
