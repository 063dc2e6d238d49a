package eks

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	eksapi "github.com/ekslocal/ekslocal/api/eks"
	"github.com/ekslocal/ekslocal/emulator/wire/refusal"
)

// TestRefusalsB has an ACTIVE cluster dev (1.35, access entries) with node group ng,
// add-ons coredns (ACTIVE) and metrics-server (CREATING) and capability ack
// (CREATING), clusters old (CONFIG_MAP) and new (CREATING), a connected cluster far and
// an ACTIVE subscription.
func TestRefusalsB(t *testing.T) {
	w := newWorld(t)
	w.Service.ports[1] = 6502
	w.active("dev", withMode("API"), func(in *eks.CreateClusterInput) { in.Version = aws.String("1.35") })
	w.active("old")
	w.create("new")
	w.nodegroup("dev", "ng")
	w.ec2.templates = []ec2types.LaunchTemplateVersion{template1(1)}
	for _, name := range []string{"coredns", "metrics-server"} {
		must(w.CreateAddon(w.ctx, &eks.CreateAddonInput{ClusterName: aws.String("dev"), AddonName: &name}))
	}
	w.settleAddon("dev", "coredns")
	ack := capability(ekstypes.CapabilityTypeAck)
	ack.CapabilityName = aws.String("ack")
	must(w.CreateCapability(w.ctx, ack))
	must(w.RegisterCluster(w.ctx, &eks.RegisterClusterInput{
		Name: aws.String("far"), ConnectorConfig: &ekstypes.ConnectorConfigRequest{Provider: "GKE", RoleArn: aws.String(roleARN("agent"))},
	}))
	sub := must(w.CreateEksAnywhereSubscription(w.ctx, &eks.CreateEksAnywhereSubscriptionInput{
		Name: aws.String("sub"), Term: &ekstypes.EksAnywhereSubscriptionTerm{Duration: 12, Unit: "MONTHS"},
	})).Subscription
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	refusal.RunTable(w.ctx, t, eksapi.Model(), w.Service, map[string]string{"sub": *sub.Id}, "testdata/refusals_b.yaml")
}
