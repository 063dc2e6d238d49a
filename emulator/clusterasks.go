package emulator

import (
	"context"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/controlplane"
	"github.com/ekslocal/ekslocal/emulator/fargate"
	"github.com/ekslocal/ekslocal/emulator/lifecycle"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
)

// admission answers the webhooks that EKS puts into clusters.
type admission struct{ e *Emulator }

var _ controlplane.Admitter = admission{}

// Admit implements controlplane.Admitter.
func (a admission) Admit(ctx context.Context, clusterID, path string, r *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	switch path {
	case lifecycle.PodENIMutatePath, lifecycle.PodENIValidatePath:
		lc := a.e.loops.lifecycle()
		if lc == nil {
			return nil, errors.New("the VPC resource controller does not run")
		}
		return lc.AdmitPodENI(ctx, clusterID, path, r)
	case lifecycle.PodIdentityPath:
		lc := a.e.loops.lifecycle()
		if lc == nil {
			return nil, errors.New("the pod identity webhook does not run")
		}
		return lc.AdmitPodIdentity(ctx, clusterID, r)
	case lifecycle.FargateWebhookPath:
	default:
		return nil, fmt.Errorf("there is no webhook %q", path)
	}
	c := (records{a.e.store}).find(clusterID)
	if c == nil {
		return nil, fmt.Errorf("there is no cluster %s", clusterID)
	}
	return fargate.Admit(lifecycle.FargateProfiles(a.e.store, c), r)
}

// usage keeps what API servers report of deprecated APIs.
type usage struct{ e *Emulator }

var _ controlplane.UsageRecorder = usage{}

// RecordDeprecated implements controlplane.UsageRecorder.
func (u usage) RecordDeprecated(ctx context.Context, clusterID string, uses []controlplane.DeprecatedUse) error {
	c := (records{u.e.store}).find(clusterID)
	if c == nil {
		return nil // deleted meanwhile
	}
	var out []eks.DeprecatedUse
	for _, use := range uses {
		out = append(out, eks.DeprecatedUse{
			Group: use.Group, Version: use.Version, Resource: use.Resource, RemovedRelease: use.RemovedRelease, UserAgent: use.UserAgent,
			Days: map[string]int32{use.Last.UTC().Format(time.DateOnly): use.Count}, Last: use.Last,
		})
	}
	return eks.RecordDeprecatedUse(ctx, u.e.store, c, u.e.cfg.Clock.Now(), out)
}

// insights asks the reconcilers that run now for a check of a cluster.
type insights struct{ e *Emulator }

var _ eks.InsightsChecker = insights{}

// CheckInsights implements eks.InsightsChecker.
func (i insights) CheckInsights(ctx context.Context, scope awsid.Scope, cluster string) error {
	if lc := i.e.loops.lifecycle(); lc != nil {
		return lc.CheckInsights(ctx, scope, cluster)
	}
	return nil
}
