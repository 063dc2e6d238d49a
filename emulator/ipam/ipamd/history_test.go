package ipamd_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ekslocal/ekslocal/emulator/ipam/ipamd"
)

// TestHistories: whatever nodes, pods and users do in one subnet, no address has two
// pods, every pool is what EC2 says once it had time to look, and nothing stays taken
// when the instances have ended.
func TestHistories(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			f := newFixture(t, []string{"10.0.0.0/24", "10.0.0.0/25", "10.0.0.0/26"}[seed%3])
			all := f.free()
			h := &history{fixture: f, rnd: rand.New(rand.NewPCG(seed, 5)), p: f.pools(), owner: map[netip.Addr]string{}, pods: map[string]pod{}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go f.ec2.Run(ctx) //nolint:errcheck // it ends with the test
			h.ids = append(f.run("m5.large", 2), f.run("t3.small", 2)...)
			for range 120 {
				h.step()
			}
			f.settle(h.p)
			f.pass(h.p, 70*time.Second)
			f.pass(h.p, 70*time.Second)
			for _, id := range h.ids {
				if v, ok := h.p.View(id); ok {
					if d := cmp.Diff(f.ledger(id), known(v)); d != "" {
						t.Errorf("%s: %s\n%s", id, d, h.p.Log(id))
					}
				}
			}
			for len(h.ids) > 0 {
				h.end(0)
			}
			f.deleteAll(h.blocks)
			until(t, "every address is free again", func() bool { f.clock.Step(time.Second); return f.free() == all })
		})
	}
}

type pod struct {
	instance string
	ip       netip.Addr
}

type history struct {
	*fixture
	rnd    *rand.Rand
	p      *ipamd.Pools
	ids    []string
	born   int
	pods   map[string]pod
	owner  map[netip.Addr]string
	blocks []string
}

func (h *history) step() {
	if len(h.ids) == 0 {
		return
	}
	at := h.rnd.IntN(len(h.ids))
	id := h.ids[at]
	switch h.rnd.IntN(12) {
	case 0, 1, 2, 3, 4:
		for range 1 + h.rnd.IntN(4) {
			h.add(id)
		}
	case 5, 6:
		names := slices.Sorted(maps.Keys(h.pods))
		for _, n := range names[:h.rnd.IntN(len(names)+1)] {
			h.drop(n)
		}
	case 7:
		h.pass(h.p, time.Duration(h.rnd.IntN(80))*time.Second)
		h.lost()
	case 8:
		env := map[string]string{"WARM_ENI_TARGET": fmt.Sprint(h.rnd.IntN(3)), "ENABLE_PREFIX_DELEGATION": fmt.Sprint(h.rnd.IntN(3) == 0)}
		if h.rnd.IntN(2) == 0 {
			env["WARM_IP_TARGET"], env["MINIMUM_IP_TARGET"] = fmt.Sprint(h.rnd.IntN(4)), fmt.Sprint(h.rnd.IntN(9))
		}
		h.p.Configure(id, config(h.t, 0, env))
		h.settle(h.p)
		h.lost()
	case 9:
		h.tamper(id)
	case 10:
		if h.rnd.IntN(2) == 0 {
			h.deleteAll(h.blocks)
			h.blocks = nil
			return
		}
		out, err := h.ec2.CreateNetworkInterface(h.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &h.subnet, SecondaryPrivateIpAddressCount: aws.Int32(1 + h.rnd.Int32N(30))})
		if err == nil {
			h.blocks = append(h.blocks, *out.NetworkInterface.NetworkInterfaceId)
		}
	case 11:
		if h.rnd.IntN(10) == 0 {
			h.end(at)
		}
	}
}

func (h *history) add(id string) {
	h.born++
	name := fmt.Sprint("pod-", h.born)
	ip, err := h.p.Assign(h.t.Context(), id, types.UID(name), types.NamespacedName{Namespace: "default", Name: name}, netip.Addr{})
	h.settle(h.p)
	if errors.Is(err, ipamd.ErrNoAddress) {
		return
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.lost()
	if o := h.owner[ip]; o != "" && o != name {
		h.t.Fatalf("%s has %s and %s", ip, o, name)
	}
	h.owner[ip], h.pods[name] = name, pod{id, ip}
}

func (h *history) drop(name string) {
	p := h.pods[name]
	h.p.Release(h.t.Context(), p.instance, types.UID(name))
	if h.owner[p.ip] == name {
		delete(h.owner, p.ip)
	}
	delete(h.pods, name)
	h.settle(h.p)
}

// lost forgets the pods whose addresses a user took away under them.
func (h *history) lost() {
	for name, p := range h.pods {
		if a, ok := h.p.Has(p.instance, types.UID(name)); !ok || a != p.ip {
			if h.owner[p.ip] == name {
				delete(h.owner, p.ip)
			}
			delete(h.pods, name)
		}
	}
}

// tamper is a user with an idea, and time for ipamd to see it.
func (h *history) tamper(id string) {
	v, ok := h.p.View(id)
	if !ok || len(v.ENIs) == 0 {
		return
	}
	e := v.ENIs[h.rnd.IntN(len(v.ENIs))]
	switch h.rnd.IntN(3) {
	case 0:
		if len(e.Addresses) > 0 {
			_, _ = h.ec2.UnassignPrivateIpAddresses(h.ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: &e.ID, PrivateIpAddresses: []string{e.Addresses[0].String()}})
		}
	case 1:
		_, _ = h.ec2.AssignPrivateIpAddresses(h.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: &e.ID, SecondaryPrivateIpAddressCount: aws.Int32(1)})
	case 2:
		out, err := h.ec2.DescribeNetworkInterfaces(h.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{e.ID}})
		if err == nil && out.NetworkInterfaces[0].Attachment != nil && e.Device > 0 {
			_, err = h.ec2.DetachNetworkInterface(h.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: out.NetworkInterfaces[0].Attachment.AttachmentId})
			if err == nil {
				h.blocks = append(h.blocks, e.ID)
			}
		}
	}
	h.pass(h.p, 70*time.Second)
	h.lost()
}

func (h *history) end(at int) {
	id := h.ids[at]
	if _, err := h.ec2.TerminateInstances(h.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}); err != nil {
		h.t.Fatal(err)
	}
	h.p.Forget(id)
	for name, p := range h.pods {
		if p.instance == id {
			if h.owner[p.ip] == name {
				delete(h.owner, p.ip)
			}
			delete(h.pods, name)
		}
	}
	h.ids = slices.Delete(h.ids, at, at+1)
}

func (f *fixture) deleteAll(enis []string) {
	for _, id := range enis {
		_, _ = f.ec2.DeleteNetworkInterface(f.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
	}
}
