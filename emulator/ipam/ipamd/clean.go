package ipamd

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/ipam/warmpool"
)

const (
	// cleanEvery is how often the CNI looks for interfaces it lost.
	cleanEvery = time.Hour
	// inFlight is how old an unattached interface of this process must be to be
	// lost rather than on its way.
	inFlight = 5 * time.Minute
)

// Run lets every node look at its pool now and then, and deletes interfaces that were
// created but never attached, because the emulator or the instance ended in between:
// those of earlier processes at once, others every hour, until ctx ends.
func (p *Pools) Run(ctx context.Context) error {
	p.cleanAll(ctx, p.started)
	next := p.cfg.Clock.Now().Add(cleanEvery)
	for {
		timer := p.cfg.Clock.NewTimer(warmpool.Monitor)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C():
		}
		p.monitor(ctx)
		if now := p.cfg.Clock.Now(); !now.Before(next) {
			p.cleanAll(ctx, now.Add(-inFlight))
			next = now.Add(cleanEvery)
		}
	}
}

func (p *Pools) cleanAll(ctx context.Context, before time.Time) {
	for _, scope := range p.cfg.EC2.Scopes() {
		if err := p.clean(as(ctx, scope), scope, before); err != nil && ctx.Err() == nil {
			p.cfg.Log.Warn("ipamd: lost interfaces stay for now", "region", scope.Region, "error", err)
		}
	}
}

func (p *Pools) clean(ctx context.Context, scope awsid.Scope, before time.Time) error {
	out, err := p.cfg.EC2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{
		{Name: aws.String("status"), Values: []string{"available"}}, {Name: aws.String("tag:" + tagOwner), Values: []string{owner}},
	}})
	if err != nil {
		return err
	}
	var errs []error
	for _, eni := range out.NetworkInterfaces {
		created := before
		for _, t := range eni.TagSet {
			if *t.Key == tagCreated {
				if at, err := time.Parse(time.RFC3339Nano, *t.Value); err == nil {
					created = at
				}
			}
		}
		if !created.Before(before) {
			continue
		}
		p.cfg.Log.Info("ipamd: deleting a lost interface", "interface", *eni.NetworkInterfaceId, "account", scope.Account, "region", scope.Region)
		if _, err := p.cfg.EC2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
