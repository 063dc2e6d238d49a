package dataplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// daemonSpeaks is what kubectl logs shows of an aws-node container: the entry
// point's lines (amazon-vpc-cni-k8s, cmd/aws-vpc-cni), and the daemon's own if its
// log goes to standard output.
func (f *Fleet) daemonSpeaks(ctx context.Context, pod *corev1.Pod, of run, pass func(time.Time) error, emit func(logLine) error) error {
	say := func(at time.Time, level, text string) error {
		return emit(logLine{at, fmt.Sprintf("time=%q level=%s msg=%q", at.UTC().Format(time.RFC3339), level, text)})
	}
	n := f.node(pod.Spec.NodeName)
	if n == nil {
		return nil
	}
	if why := f.cfg.Daemon.Refusal(environment(pod, containerSpec(pod, daemonName), f.resolver(ctx))); why != "" {
		return say(of.start, "error", why)
	}
	d, own := f.daemonOf(n, pod)
	own = own && d.run == of.id
	for _, target := range []string{"aws-cni", "egress-cni"} {
		if err := emit(logLine{of.start, "Installed /host/opt/cni/bin/" + target}); err != nil {
			return err
		}
	}
	for _, text := range []string{"Starting IPAM daemon... ", "Checking for IPAM connectivity... "} {
		if err := say(of.start, "info", text); err != nil {
			return err
		}
	}
	if own && d.Phase == DaemonServing {
		for _, text := range []string{"Copying config file... ", "Successfully copied CNI plugin binary and config file."} {
			if err := say(d.Since, "info", text); err != nil {
				return err
			}
		}
	}
	var seen []byte
	for at := f.clock.Now(); own; {
		now := f.cfg.Daemon.Output(n.InstanceID)
		for line := range bytes.Lines(appended(seen, now)) {
			if err := emit(logLine{stamp(line, of.start), string(bytes.TrimSpace(line))}); err != nil {
				return err
			}
		}
		seen = now
		at = at.Add(time.Second)
		if err := pass(at); err != nil {
			return err
		}
	}
	return nil
}

// stamp is when the daemon wrote a line of its log.
func stamp(line []byte, otherwise time.Time) time.Time {
	var l struct {
		At time.Time `json:"ts"`
	}
	if json.Unmarshal(line, &l) != nil || l.At.IsZero() {
		return otherwise
	}
	return l.At
}
