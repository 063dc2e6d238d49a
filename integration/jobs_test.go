package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestJobs lets the Job and CronJob controllers decide about simulated pods whose
// end is scripted by annotations.
func TestJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t))
	k := w.kube(t, w.cluster(t, "dev"))
	w.nodegroup(t, "dev", "ng", 2)
	k.apply(t, "jobs.yaml")

	for _, c := range []struct {
		job, reason              string // of the Failed condition; empty: it completes
		succeeded, failed        int32
		completed, failedIndexes string
	}{
		{job: "counted", succeeded: 5},
		{job: "spoken", succeeded: 1},
		{job: "retried", succeeded: 1},
		{job: "helped", succeeded: 1},
		{job: "indexed", succeeded: 4, completed: "0-3"},
		{job: "hopeless", reason: batchv1.JobReasonBackoffLimitExceeded, failed: 1},
		{job: "greedy", reason: batchv1.JobReasonBackoffLimitExceeded, failed: 1},
		{job: "policy", reason: batchv1.JobReasonPodFailurePolicy, failed: 1},
		{job: "late", reason: batchv1.JobReasonDeadlineExceeded, failed: 1},
		{job: "holey", reason: batchv1.JobReasonFailedIndexes, succeeded: 2, failed: 2, completed: "0,2", failedIndexes: "1,3"},
		{job: "stubborn", reason: batchv1.JobReasonBackoffLimitExceeded, failed: 2}, // its second pod starts 10 s after the first
	} {
		t.Run(c.job, func(t *testing.T) {
			j, end := k.finished(t, c.job)
			want := batchv1.JobComplete
			if c.reason != "" {
				want = batchv1.JobFailed
			}
			if end.Type != want || c.reason != "" && end.Reason != c.reason {
				t.Errorf("it ended with %s, %s: %s; want %s, %s", end.Type, end.Reason, end.Message, want, c.reason)
			}
			s := j.Status
			if s.Succeeded != c.succeeded || s.Failed != c.failed || s.Active != 0 || s.CompletedIndexes != c.completed {
				t.Errorf("status %+v", s)
			}
			if got := s.FailedIndexes; c.failedIndexes != "" && (got == nil || *got != c.failedIndexes) {
				t.Errorf("failed indexes %v, want %s", got, c.failedIndexes)
			}
		})
	}
	t.Run("pods", k.jobPods)
	t.Run("suspended", k.suspended)
	t.Run("ttl", func(t *testing.T) {
		eventually(t, 30*time.Second, "job brief is cleaned up", func() error {
			if _, err := k.BatchV1().Jobs("default").Get(t.Context(), "brief", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("it is there: %v", err)
			}
			return nil
		})
	})
	t.Run("cron", k.cron)
}

// finished waits for the job's end.
func (k *kube) finished(t *testing.T, name string) (*batchv1.Job, batchv1.JobCondition) {
	t.Helper()
	var job *batchv1.Job
	var end batchv1.JobCondition
	eventually(t, 45*time.Second, "job "+name+" ends", func() (err error) {
		if job, err = k.BatchV1().Jobs("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		for _, c := range job.Status.Conditions {
			if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
				end = c
				return nil
			}
		}
		return fmt.Errorf("status %+v", job.Status)
	})
	return job, end
}

func (k *kube) podsOf(t *testing.T, job string) []corev1.Pod {
	t.Helper()
	return must(k.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "batch.kubernetes.io/job-name=" + job}))(t).Items
}

// jobPods looks at what the ends left in the pods.
func (k *kube) jobPods(t *testing.T) {
	for _, p := range k.podsOf(t, "counted") {
		if p.Status.Phase != corev1.PodSucceeded || p.Status.ContainerStatuses[0].State.Terminated.Reason != "Completed" {
			t.Errorf("%s: %+v", p.Name, p.Status)
		}
	}
	if s := k.podsOf(t, "greedy")[0].Status.ContainerStatuses[0].State.Terminated; s.ExitCode != 137 || s.Reason != "OOMKilled" {
		t.Errorf("out of memory: %+v", s)
	}
	if p := k.podsOf(t, "retried"); len(p) != 1 || p[0].Status.ContainerStatuses[0].RestartCount != 1 {
		t.Errorf("a pod that restarts on failure: %d pods, %+v", len(p), p[0].Status)
	}
	helped := k.podsOf(t, "helped")[0].Status
	if s := helped.InitContainerStatuses[0].State.Terminated; helped.Phase != corev1.PodSucceeded || s == nil {
		t.Errorf("the sidecar outlives the job: %+v", helped)
	}
	indexes := map[string]bool{}
	for _, p := range k.podsOf(t, "indexed") {
		b, err := k.CoreV1().Pods("default").GetLogs(p.Name, &corev1.PodLogOptions{}).DoRaw(t.Context())
		if want := p.Annotations[batchv1.JobCompletionIndexAnnotation]; err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("pod of index %s says %q, %v", want, b, err)
		}
		indexes[string(b)] = true
	}
	if len(indexes) != 4 {
		t.Errorf("indexes %v", indexes)
	}
}

func (k *kube) suspended(t *testing.T) {
	if p := k.podsOf(t, "suspended"); len(p) != 0 {
		t.Errorf("a suspended job has %d pods", len(p))
	}
	must(k.BatchV1().Jobs("default").Patch(t.Context(), "suspended", types.MergePatchType, []byte(`{"spec":{"suspend":false}}`), metav1.PatchOptions{}))(t)
	if j, end := k.finished(t, "suspended"); end.Type != batchv1.JobComplete {
		t.Errorf("resumed: %+v", j.Status)
	}
}

// cron tells the CronJob that it ran two hours ago, so that a run is due at once.
func (k *kube) cron(t *testing.T) {
	status := fmt.Sprintf(`{"status":{"lastScheduleTime":%q}}`, time.Now().UTC().Add(-2*time.Hour).Format(time.RFC3339))
	must(k.BatchV1().CronJobs("default").Patch(t.Context(), "nightly", types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"))(t)
	var job string
	eventually(t, 30*time.Second, "the CronJob makes a Job", func() error {
		list, err := k.BatchV1().Jobs("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, j := range list.Items {
			if o := metav1.GetControllerOf(&j); o != nil && o.Kind == "CronJob" && o.Name == "nightly" {
				job = j.Name
				return nil
			}
		}
		return errors.New("no Job of it")
	})
	if _, end := k.finished(t, job); end.Type != batchv1.JobComplete {
		t.Errorf("its job: %+v", end)
	}
	eventually(t, 15*time.Second, "the CronJob knows of the success", func() error {
		c, err := k.BatchV1().CronJobs("default").Get(t.Context(), "nightly", metav1.GetOptions{})
		if err == nil && c.Status.LastSuccessfulTime == nil {
			err = fmt.Errorf("status %+v", c.Status)
		}
		return err
	})
}
