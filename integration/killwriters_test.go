package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// writer changes one kind of thing and knows what should be there.
type writer interface {
	// step makes one change; it is interrupted by ctx or the emulator's end.
	step(ctx context.Context)
	// verify looks, right after a restart, for what was acknowledged.
	verify(t *testing.T)
	// verifySettled does so when everything is at rest.
	verifySettled(t *testing.T)
	// done says how much was acknowledged.
	done() string
}

// book says which names should exist. A change whose answer did not come is
// unsure: the next look decides.
type book struct {
	mu     sync.Mutex
	ids    map[string]string // what exists, by name
	unsure map[string]bool
	gone   map[string]bool
	n      int
	acks   int
	prefix string
}

func newBook(prefix string) *book {
	return &book{ids: map[string]string{}, unsure: map[string]bool{}, gone: map[string]bool{}, prefix: prefix}
}

func (b *book) next() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return fmt.Sprintf("%s%d", b.prefix, b.n)
}

// any picks one that surely exists.
func (b *book) any(choice func(int) int) (name, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for name := range b.ids {
		if !b.unsure[name] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", ""
	}
	name = names[choice(len(names))]
	return name, b.ids[name]
}

func (b *book) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.ids)
}

// create runs f, which makes name and answers its id.
func (b *book) create(name string, f func() (string, error)) error {
	b.mark(name, true)
	id, err := f()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.acks++
		b.ids[name] = id
		delete(b.gone, name)
		delete(b.unsure, name)
	case definite(err):
		delete(b.unsure, name)
	}
	return err
}

// remove runs f, which removes name.
func (b *book) remove(name string, f func() error) error {
	b.mark(name, true)
	err := f()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.acks++
		delete(b.ids, name)
		b.gone[name] = true
		delete(b.unsure, name)
	case definite(err):
		delete(b.unsure, name)
	}
	return err
}

func (b *book) mark(name string, unsure bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unsure[name] = unsure
}

// check compares with what there is, by name, and takes over what was unsure.
func (b *book) check(t *testing.T, have map[string]string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for name := range b.unsure {
		if id, ok := have[name]; ok {
			b.ids[name] = id
			delete(b.gone, name)
		} else {
			delete(b.ids, name)
		}
	}
	clear(b.unsure)
	for name, id := range b.ids {
		if have[name] != id {
			t.Errorf("%s %s was acknowledged, but there is %q", name, id, have[name])
		}
	}
	for name, id := range have {
		if _, ok := b.ids[name]; !ok {
			t.Errorf("%s %s should not be there (deletion acknowledged: %v)", name, id, b.gone[name])
		}
	}
}

// definite tells whether an error says that nothing happened.
func definite(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorFault() != smithy.FaultServer
	}
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < 500
}

// pause keeps a loop that has nothing to do, or nobody to talk to, from spinning.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func newWriters(t *testing.T, w *world, keep *ekstypes.Cluster, choice *rand.Rand) []writer {
	t.Helper()
	cfg := w.config()
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	// Retries would hide that an answer did not come; verify may have them.
	own := clients{eks.NewFromConfig(cfg), ec2.NewFromConfig(cfg), iam.NewFromConfig(cfg), w.sts, w.ssm}
	rnd := func() *rand.Rand { return rand.New(rand.NewPCG(choice.Uint64(), 0)) }
	var out []writer
	for _, p := range []string{"p", "q"} {
		out = append(out, &networkWriter{clients: own, w: w, rnd: rnd(), vpcs: newBook(p + "-vpc-"), subnets: newBook(p + "-subnet-"), enis: newBook(p + "-eni-"), tags: newBook(p + "-tag-"), prefix: p})
	}
	out = append(out, &roleWriter{clients: own, w: w, rnd: rnd(), roles: newBook("killed-")})
	for _, name := range []string{"a", "b"} {
		out = append(out, &clusterWriter{clients: own, w: w, rnd: rnd(), name: name, acks: map[string]int{}})
	}
	_, kube := w.kubernetes(t, keep)
	return append(out, &objectWriter{w: w, cluster: keep, cfg: kube, rnd: rnd(), maps: newBook("cm-")})
}

// networkWriter makes VPCs and subnets of its own, and interfaces, with tags, in
// the world's subnets.
type networkWriter struct {
	clients
	w                         *world
	rnd                       *rand.Rand
	vpcs, subnets, enis, tags *book
	prefix                    string
}

func named(t ec2types.ResourceType, name string) []ec2types.TagSpecification {
	return []ec2types.TagSpecification{{ResourceType: t, Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: &name}}}}
}

func (n *networkWriter) step(ctx context.Context) {
	var err error
	switch p := n.rnd.IntN(100); {
	case p < 10 && n.vpcs.size() < 3: // with the default VPC and the world's, the quota of a region
		name := n.vpcs.next()
		err = n.vpcs.create(name, func() (string, error) {
			out, err := n.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.1.0.0/16"), TagSpecifications: named(ec2types.ResourceTypeVpc, name)})
			if err != nil {
				return "", err
			}
			return *out.Vpc.VpcId, nil
		})
	case p < 15:
		if name, id := n.vpcs.any(n.rnd.IntN); name != "" {
			err = n.vpcs.remove(name, func() error {
				_, err := n.ec2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &id})
				return err
			})
		}
	case p < 35:
		if _, vpc := n.vpcs.any(n.rnd.IntN); vpc != "" {
			name := n.subnets.next()
			err = n.subnets.create(name, func() (string, error) {
				out, err := n.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{
					VpcId: &vpc, CidrBlock: aws.String(fmt.Sprintf("10.1.%d.0/24", n.rnd.IntN(256))), TagSpecifications: named(ec2types.ResourceTypeSubnet, name),
				})
				if err != nil {
					return "", err
				}
				return *out.Subnet.SubnetId, nil
			})
		}
	case p < 50:
		if name, id := n.subnets.any(n.rnd.IntN); name != "" {
			err = n.subnets.remove(name, func() error {
				_, err := n.ec2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &id})
				return err
			})
		}
	case p < 70 && n.enis.size() < 20:
		name := n.enis.next()
		err = n.enis.create(name, func() (string, error) {
			out, err := n.ec2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
				SubnetId: &n.w.subnets[n.rnd.IntN(len(n.w.subnets))], SecondaryPrivateIpAddressCount: aws.Int32(int32(n.rnd.IntN(4))),
				TagSpecifications: named(ec2types.ResourceTypeNetworkInterface, name),
			})
			if err != nil {
				return "", err
			}
			return *out.NetworkInterface.NetworkInterfaceId, nil
		})
	case p < 85:
		if _, vpc := n.vpcs.any(n.rnd.IntN); vpc != "" {
			name := n.tags.next()
			err = n.tags.create(name, func() (string, error) {
				_, err := n.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{n.w.vpc}, Tags: []ec2types.Tag{{Key: &name, Value: &name}}})
				return name, err
			})
			if n.tags.size() > 15 {
				if name, _ := n.tags.any(n.rnd.IntN); name != "" {
					err = n.tags.remove(name, func() error {
						_, err := n.ec2.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{n.w.vpc}, Tags: []ec2types.Tag{{Key: &name}}})
						return err
					})
				}
			}
		}
	default:
		if name, id := n.enis.any(n.rnd.IntN); name != "" {
			err = n.enis.remove(name, func() error {
				_, err := n.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
				return err
			})
		}
	}
	if err != nil && !definite(err) {
		pause(ctx, 20*time.Millisecond)
	}
	pause(ctx, time.Duration(n.rnd.IntN(5))*time.Millisecond)
}

func (n *networkWriter) verify(t *testing.T) {
	t.Helper()
	ours := []ec2types.Filter{{Name: aws.String("tag:Name"), Values: []string{n.prefix + "-*"}}}
	have := map[string]string{}
	for _, v := range must(n.w.ec2.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: ours}))(t).Vpcs {
		have[tagNamed(v.Tags, "Name")] = *v.VpcId
	}
	n.vpcs.check(t, have)
	have = map[string]string{}
	for _, v := range must(n.w.ec2.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{Filters: ours}))(t).Subnets {
		have[tagNamed(v.Tags, "Name")] = *v.SubnetId
	}
	n.subnets.check(t, have)
	have = map[string]string{}
	for _, v := range must(n.w.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: ours}))(t).NetworkInterfaces {
		have[tagNamed(v.TagSet, "Name")] = *v.NetworkInterfaceId
	}
	n.enis.check(t, have)
	have = map[string]string{}
	for _, tag := range must(n.w.ec2.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []ec2types.Filter{
		{Name: aws.String("resource-id"), Values: []string{n.w.vpc}}, {Name: aws.String("key"), Values: []string{n.prefix + "-tag-*"}},
	}}))(t).Tags {
		have[*tag.Key] = *tag.Value
	}
	n.tags.check(t, have)
}

func (n *networkWriter) verifySettled(t *testing.T) { n.verify(t) }

func (n *networkWriter) done() string {
	return fmt.Sprintf("%d changes of VPCs, %d of subnets, %d of interfaces, %d of tags", n.vpcs.acks, n.subnets.acks, n.enis.acks, n.tags.acks)
}

func tagNamed(tags []ec2types.Tag, key string) string {
	for _, t := range tags {
		if *t.Key == key {
			return *t.Value
		}
	}
	return ""
}

// roleWriter makes and deletes IAM roles.
type roleWriter struct {
	clients
	w     *world
	rnd   *rand.Rand
	roles *book
}

func (r *roleWriter) step(ctx context.Context) {
	var err error
	if name, _ := r.roles.any(r.rnd.IntN); name != "" && (r.roles.size() > 20 || r.rnd.IntN(3) == 0) {
		err = r.roles.remove(name, func() error {
			_, err := r.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name})
			return err
		})
	} else {
		name := r.roles.next()
		err = r.roles.create(name, func() (string, error) {
			out, err := r.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: trust("ec2.amazonaws.com")})
			if err != nil {
				return "", err
			}
			return *out.Role.RoleId, nil
		})
	}
	if err != nil && !definite(err) {
		pause(ctx, 20*time.Millisecond)
	}
	pause(ctx, time.Duration(r.rnd.IntN(10))*time.Millisecond)
}

func (r *roleWriter) verify(t *testing.T) {
	t.Helper()
	have := map[string]string{}
	for p := iam.NewListRolesPaginator(r.w.iam, &iam.ListRolesInput{}); p.HasMorePages(); {
		for _, role := range must(p.NextPage(t.Context()))(t).Roles {
			if name := *role.RoleName; len(name) > 7 && name[:7] == r.roles.prefix {
				have[name] = *role.RoleId
			}
		}
	}
	r.roles.check(t, have)
}

func (r *roleWriter) verifySettled(t *testing.T) { r.verify(t) }

func (r *roleWriter) done() string { return fmt.Sprintf("%d changes of roles", r.roles.acks) }

// objectWriter makes and deletes ConfigMaps in a cluster.
type objectWriter struct {
	w       *world
	cluster *ekstypes.Cluster
	cfg     *rest.Config
	rnd     *rand.Rand
	maps    *book
}

func (o *objectWriter) client(ctx context.Context) (*kubernetes.Clientset, error) {
	tok, err := token(ctx, o.w.sts, *o.cluster.Name) // the test outlives a token
	if err != nil {
		return nil, err
	}
	cfg := rest.CopyConfig(o.cfg)
	cfg.BearerToken, cfg.Timeout = tok, 5*time.Second
	return kubernetes.NewForConfig(cfg)
}

func (o *objectWriter) step(ctx context.Context) {
	k, err := o.client(ctx)
	if err != nil {
		pause(ctx, 50*time.Millisecond)
		return
	}
	maps := k.CoreV1().ConfigMaps("default")
	if name, _ := o.maps.any(o.rnd.IntN); name != "" && (o.maps.size() > 30 || o.rnd.IntN(3) == 0) {
		err = o.maps.remove(name, func() error { return maps.Delete(ctx, name, metav1.DeleteOptions{}) })
	} else {
		name := o.maps.next()
		err = o.maps.create(name, func() (string, error) {
			cm, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kill": "test"}}}, metav1.CreateOptions{})
			if err != nil {
				return "", err
			}
			return string(cm.UID), nil
		})
	}
	if err != nil {
		pause(ctx, 100*time.Millisecond) // the API server is on its way
	}
	pause(ctx, time.Duration(o.rnd.IntN(10))*time.Millisecond)
}

func (o *objectWriter) done() string { return fmt.Sprintf("%d changes of ConfigMaps", o.maps.acks) }

func (*objectWriter) verify(*testing.T) {} // the API server needs a while

func (o *objectWriter) verifySettled(t *testing.T) {
	t.Helper()
	have := map[string]string{}
	eventually(t, 20*time.Second, "the API server answers", func() error {
		k, err := o.client(t.Context())
		if err != nil {
			return err
		}
		list, err := k.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kill=test"})
		if err != nil {
			return err
		}
		for _, cm := range list.Items {
			have[cm.Name] = string(cm.UID)
		}
		return nil
	})
	o.maps.check(t, have)
}
