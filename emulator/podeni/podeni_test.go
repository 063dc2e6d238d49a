package podeni_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ekslocal/ekslocal/emulator/podeni"
)

const given = `[{"eniId":"eni-1","ifAddress":"02:00:00:00:00:01","privateIp":"10.0.0.7","ipv6Addr":"2001:db8::7","vlanId":1,"subnetCidr":"10.0.0.0/24","subnetV6Cidr":"2001:db8::/64","associationID":"trunk-assoc-1"}]`

func pod(change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"role": "db"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a"}, {Name: "b"}}},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func annotated(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{key: value} }
}

func TestAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		annotation string
		v6         bool
		want       string
	}{
		"IPv4":           {given, false, "10.0.0.7"},
		"IPv6":           {given, true, "2001:db8::7"},
		"none":           {"", false, ""},
		"not JSON":       {"{", false, ""},
		"empty":          {"[]", false, ""},
		"no VLAN":        {strings.Replace(given, `"vlanId":1`, `"vlanId":0`, 1), false, ""},
		"no MAC":         {strings.Replace(given, "02:00:00:00:00:01", "", 1), false, ""},
		"other family":   {strings.Replace(given, "2001:db8::7", "", 1), true, ""},
		"not an address": {strings.Replace(given, "10.0.0.7", "10.0.0.700", 1), false, ""},
	} {
		p := pod()
		if tc.annotation != "" {
			p = pod(annotated(podeni.Resource, tc.annotation))
		}
		got := podeni.Address(p, tc.v6)
		if want, _ := netip.ParseAddr(tc.want); got != want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestWants(t *testing.T) {
	if n := podeni.Wants(pod()); n != 0 {
		t.Errorf("a plain pod wants %d", n)
	}
	p := pod(func(p *corev1.Pod) {
		for i := range p.Spec.Containers {
			p.Spec.Containers[i].Resources.Requests = corev1.ResourceList{podeni.Resource: resource.MustParse("1")}
		}
	})
	if n := podeni.Wants(p); n != 2 {
		t.Errorf("two containers want %d", n)
	}
}

// policies reads them from the objects' own form.
func policies(t *testing.T, specs ...string) (out []podeni.Policy) {
	t.Helper()
	for _, s := range specs {
		var o unstructured.Unstructured
		if err := json.Unmarshal([]byte(`{"apiVersion":"vpcresources.k8s.aws/v1beta1","kind":"SecurityGroupPolicy","metadata":{"name":"x"},"spec":`+s+`}`), &o); err != nil {
			t.Fatal(err)
		}
		p, err := podeni.PolicyOf(&o)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func TestGroups(t *testing.T) {
	for name, tc := range map[string]struct {
		specs []string
		want  []string
	}{
		"by pod":          {[]string{`{"podSelector":{"matchLabels":{"role":"db"}},"securityGroups":{"groupIds":["sg-1"]}}`}, []string{"sg-1"}},
		"by account":      {[]string{`{"serviceAccountSelector":{"matchExpressions":[{"key":"team","operator":"Exists"}]},"securityGroups":{"groupIds":["sg-1"]}}`}, []string{"sg-1"}},
		"not by account":  {[]string{`{"serviceAccountSelector":{"matchLabels":{"team":"b"}},"securityGroups":{"groupIds":["sg-1"]}}`}, nil},
		"both must match": {[]string{`{"podSelector":{"matchLabels":{"role":"web"}},"serviceAccountSelector":{"matchLabels":{"team":"a"}},"securityGroups":{"groupIds":["sg-1"]}}`}, nil},
		"all pods":        {[]string{`{"podSelector":{},"securityGroups":{"groupIds":["sg-1"]}}`}, []string{"sg-1"}},
		"no selector":     {[]string{`{"securityGroups":{"groupIds":["sg-1"]}}`}, nil},
		"no groups":       {[]string{`{"podSelector":{},"securityGroups":{}}`}, nil},
		"unreadable":      {[]string{`{"podSelector":{"matchExpressions":[{"key":"role","operator":"Near"}]},"securityGroups":{"groupIds":["sg-1"]}}`}, nil},
		"several, each once": {[]string{
			`{"podSelector":{},"securityGroups":{"groupIds":["sg-2","sg-1"]}}`, `{"serviceAccountSelector":{},"securityGroups":{"groupIds":["sg-1","sg-3"]}}`,
		}, []string{"sg-2", "sg-1", "sg-3"}},
	} {
		got := podeni.Groups(policies(t, tc.specs...), map[string]string{"role": "db"}, map[string]string{"team": "a"})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func request(t *testing.T, op admissionv1.Operation, now, old *corev1.Pod) *admissionv1.AdmissionRequest {
	t.Helper()
	raw := func(p *corev1.Pod) runtime.RawExtension {
		if p == nil {
			return runtime.RawExtension{}
		}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return runtime.RawExtension{Raw: b}
	}
	return &admissionv1.AdmissionRequest{UID: "u", Operation: op, Namespace: "default", Object: raw(now), OldObject: raw(old), UserInfo: authenticationv1.UserInfo{Username: "somebody"}}
}

func TestAdmit(t *testing.T) {
	matched := func(*corev1.Pod) ([]string, error) { return []string{"sg-1", "sg-2"}, nil }
	none := func(*corev1.Pod) ([]string, error) { return nil, nil }
	onFargate := func(p *corev1.Pod) { p.Labels["eks.amazonaws.com/fargate-profile"] = "fp" }
	for name, tc := range map[string]struct {
		pod    *corev1.Pod
		groups func(*corev1.Pod) ([]string, error)
		patch  string
		denied string
	}{
		"matched": {pod(), matched, `[{"op":"add","path":"/spec/containers/0/resources/limits","value":{"vpc.amazonaws.com/pod-eni":"1"}},{"op":"add","path":"/spec/containers/0/resources/requests","value":{"vpc.amazonaws.com/pod-eni":"1"}}]`, ""},
		"with resources": {pod(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("1")}
		}), matched, `[{"op":"add","path":"/spec/containers/0/resources/limits","value":{"vpc.amazonaws.com/pod-eni":"1"}},{"op":"add","path":"/spec/containers/0/resources/requests/vpc.amazonaws.com~1pod-eni","value":"1"}]`, ""},
		"not matched":  {pod(), none, "", ""},
		"host network": {pod(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), matched, "", ""},
		"Windows":      {pod(func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"} }), matched, "", ""},
		"no account":   {pod(), func(*corev1.Pod) ([]string, error) { return nil, errors.New("gone") }, "", "Failed to get Matching SGP for Pods, rejecting event, error gone"},
		"Fargate":      {pod(onFargate), matched, `[{"op":"add","path":"/metadata/annotations","value":{"fargate.amazonaws.com/pod-sg":"sg-1,sg-2"}}]`, ""},
		"Fargate, annotated": {pod(onFargate, annotated("a", "b")), matched,
			`[{"op":"add","path":"/metadata/annotations/fargate.amazonaws.com~1pod-sg","value":"sg-1,sg-2"}]`, ""},
		"Fargate, forged": {pod(onFargate, annotated(podeni.FargateGroups, "sg-9")), none, `[{"op":"remove","path":"/metadata/annotations/fargate.amazonaws.com~1pod-sg"}]`, ""},
		"Fargate, not":    {pod(onFargate), none, "", ""},
	} {
		r, err := podeni.Admit(request(t, admissionv1.Create, tc.pod, nil), tc.groups)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		message := ""
		if r.Result != nil {
			message = r.Result.Message
		}
		if r.Allowed != (tc.denied == "") || message != tc.denied || r.UID != "u" {
			t.Errorf("%s: %+v", name, r)
		}
		if diff := cmp.Diff(tc.patch, string(r.Patch)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestValidate(t *testing.T) {
	plain, with, fargate := pod(), pod(annotated(podeni.Resource, given)), pod(annotated(podeni.FargateGroups, "sg-1"))
	for name, tc := range map[string]struct {
		op       admissionv1.Operation
		now, old *corev1.Pod
		user     string
		denied   string
	}{
		"create":                {admissionv1.Create, plain, nil, "", ""},
		"create with":           {admissionv1.Create, with, nil, podeni.User, "pod cannot be created with vpc.amazonaws.com/pod-eni annotation"},
		"update of other":       {admissionv1.Update, with, with, "", ""},
		"annotate":              {admissionv1.Update, with, plain, "", "annotation is not set by vpc-resource-controller"},
		"take away":             {admissionv1.Update, plain, with, "", "annotation is not set by vpc-resource-controller"},
		"the controller":        {admissionv1.Update, with, plain, podeni.User, ""},
		"Fargate's, by anybody": {admissionv1.Update, fargate, plain, podeni.User, "annotation is not set by mutating webhook"},
	} {
		in := request(t, tc.op, tc.now, tc.old)
		if tc.user != "" {
			in.UserInfo.Username = tc.user
		}
		r, err := podeni.Validate(in)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Allowed != (tc.denied == "") || tc.denied != "" && r.Result.Message != tc.denied {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := podeni.Validate(&admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: []byte("{")}}); err == nil {
		t.Error("half a pod passes")
	}
}

func FuzzAnnotation(f *testing.F) {
	f.Add(given)
	f.Add("[{}]")
	f.Fuzz(func(t *testing.T, text string) {
		p := pod(annotated(podeni.Resource, text))
		for _, v6 := range []bool{false, true} {
			if ip := podeni.Address(p, v6); ip.IsValid() {
				if all, err := podeni.Given(p); err != nil || all[0].VLAN == 0 {
					t.Errorf("an address of %q: %v", text, err)
				}
			}
		}
	})
}
