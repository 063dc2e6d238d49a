package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"
)

func pod(i int, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("web-%d", i), Namespace: namespace, Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i%nodeCount)},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
}

func TestWaitPodsFollowsTheWatch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	kube := fake.NewClientset()
	r := &run{kube: kube}
	for i := range replicas - 1 {
		if _, err := kube.CoreV1().Pods(namespace).Create(ctx, pod(i, fmt.Sprintf("10.0.%d.%d", i%3, 10+i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	last := pod(replicas-1, "")
	last.Status.Phase = corev1.PodPending
	if _, err := kube.CoreV1().Pods(namespace).Create(ctx, last, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := r.waitPods(ctx); done <- err }()
	// The one that is missing is what it waits for, however the two interleave.
	last = last.DeepCopy()
	last.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.99"}
	if _, err := kube.CoreV1().Pods(namespace).UpdateStatus(ctx, last, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(r.pods) != replicas {
		t.Errorf("%d pods", len(r.pods))
	}
}

func TestApplyTwice(t *testing.T) {
	r := &run{kube: fake.NewClientset()}
	for range 2 {
		if _, err := r.apply(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	d, err := r.kube.AppsV1().Deployments(namespace).Get(t.Context(), app, metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != replicas {
		t.Errorf("deployment %+v, %v", d, err)
	}
}

func TestInSubnets(t *testing.T) {
	for ip, want := range map[string]bool{"10.0.0.7": true, "10.0.2.250": true, "10.0.3.1": false, "172.16.0.1": false, "": false} {
		if got := inSubnets(ip); got != want {
			t.Errorf("inSubnets(%q) = %v", ip, got)
		}
	}
}

func TestStepsShowWhatTheyWaitFor(t *testing.T) {
	var out bytes.Buffer
	clk := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	r := &run{Config: Config{Out: &out, Clock: clk}}
	err := r.step(t.Context(), "VPC", func(context.Context) (string, error) {
		if !strings.HasPrefix(out.String(), "  VPC") {
			t.Error("the name comes after the work")
		}
		clk.SetTime(time.Unix(1, 5e8))
		return "vpc-1", nil
	})
	if err != nil || !strings.HasSuffix(out.String(), " 1.50 s\n") || !strings.Contains(out.String(), "vpc-1") {
		t.Errorf("%v: %q", err, out.String())
	}
	if err := r.step(t.Context(), "x", func(context.Context) (string, error) { return "", errors.New("no") }); err == nil {
		t.Error("an error is lost")
	}
}
