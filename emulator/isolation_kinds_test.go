package emulator

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	autoscalingsdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	asgtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	logssdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	ec2sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	ekssdk "github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	eventssdk "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	iamsdk "github.com/aws/aws-sdk-go-v2/service/iam"
	kmssdk "github.com/aws/aws-sdk-go-v2/service/kms"
	sqssdk "github.com/aws/aws-sdk-go-v2/service/sqs"
	stssdk "github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/service/eks"
	"github.com/ekslocal/ekslocal/emulator/store"
)

// kind is something that every tenant makes under the same name, after a cluster
// and its network (see tenant.make), and refers to by an id of its own.
type kind struct {
	what string
	// make returns the id.
	make func(n *tenant, made things, role string) (string, error)
	// look reads it by the id.
	look func(n *tenant, id string) error
	// list returns the ids of all that there are.
	list func(n *tenant) ([]string, error)
}

var same = aws.String("same")

// errElse is for APIs that take no ids: the name is somebody's, the ARN another's.
var errElse = errors.New("another one has the name")

func mustBe(id string, got *string, err error) error {
	if err == nil && aws.ToString(got) != id {
		return errElse
	}
	return err
}

func tagsOf(n *tenant, arn string) error {
	_, err := n.eks.ListTagsForResource(n.ctx, &ekssdk.ListTagsForResourceInput{ResourceArn: &arn})
	return err
}

var kinds = []kind{
	{"KMS key", func(n *tenant, _ things, _ string) (string, error) {
		out, err := n.kms.CreateKey(n.ctx, &kmssdk.CreateKeyInput{})
		if err != nil {
			return "", err
		}
		_, err = n.kms.CreateAlias(n.ctx, &kmssdk.CreateAliasInput{AliasName: aws.String("alias/same"), TargetKeyId: out.KeyMetadata.KeyId})
		return *out.KeyMetadata.Arn, err
	}, func(n *tenant, id string) error {
		_, err := n.kms.DescribeKey(n.ctx, &kmssdk.DescribeKeyInput{KeyId: &id})
		return err
	}, func(n *tenant) (ids []string, err error) {
		out, err := n.kms.ListKeys(n.ctx, &kmssdk.ListKeysInput{})
		if err != nil {
			return nil, err
		}
		for _, k := range out.Keys {
			ids = append(ids, *k.KeyArn)
		}
		return ids, nil
	}},
	{"KMS alias", func(n *tenant, _ things, _ string) (string, error) { return n.ARN("kms", "alias/same"), nil }, func(n *tenant, id string) error {
		_, err := n.kms.DescribeKey(n.ctx, &kmssdk.DescribeKeyInput{KeyId: &id})
		return err
	}, func(n *tenant) (ids []string, err error) {
		out, err := n.kms.ListAliases(n.ctx, &kmssdk.ListAliasesInput{})
		if err != nil {
			return nil, err
		}
		for _, a := range out.Aliases {
			if !strings.HasPrefix(*a.AliasName, "alias/aws/") {
				ids = append(ids, *a.AliasArn)
			}
		}
		return ids, nil
	}},
	{"log group", func(n *tenant, _ things, _ string) (string, error) {
		_, err := n.logs.CreateLogGroup(n.ctx, &logssdk.CreateLogGroupInput{LogGroupName: same})
		return n.ARN("logs", "log-group:same"), err
	}, func(n *tenant, id string) error {
		_, err := n.logs.ListTagsForResource(n.ctx, &logssdk.ListTagsForResourceInput{ResourceArn: &id})
		return err
	}, func(n *tenant) (ids []string, err error) {
		out, err := n.logs.DescribeLogGroups(n.ctx, &logssdk.DescribeLogGroupsInput{})
		if err != nil {
			return nil, err
		}
		for _, g := range out.LogGroups {
			ids = append(ids, *g.LogGroupArn)
		}
		return ids, nil
	}},
	{"queue", func(n *tenant, _ things, _ string) (string, error) {
		out, err := n.sqs.CreateQueue(n.ctx, &sqssdk.CreateQueueInput{QueueName: same})
		if err != nil {
			return "", err
		}
		return *out.QueueUrl, nil
	}, func(n *tenant, id string) error {
		_, err := n.sqs.GetQueueAttributes(n.ctx, &sqssdk.GetQueueAttributesInput{QueueUrl: &id})
		return err
	}, func(n *tenant) ([]string, error) {
		out, err := n.sqs.ListQueues(n.ctx, &sqssdk.ListQueuesInput{})
		if err != nil {
			return nil, err
		}
		return out.QueueUrls, nil
	}},
	{"queue's move tasks", func(n *tenant, _ things, _ string) (string, error) { return n.ARN("sqs", "same"), nil }, func(n *tenant, id string) error {
		_, err := n.sqs.ListMessageMoveTasks(n.ctx, &sqssdk.ListMessageMoveTasksInput{SourceArn: &id})
		return err
	}, nil},
	{"event bus", func(n *tenant, _ things, _ string) (string, error) {
		out, err := n.events.CreateEventBus(n.ctx, &eventssdk.CreateEventBusInput{Name: same})
		if err != nil {
			return "", err
		}
		return *out.EventBusArn, nil
	}, func(n *tenant, id string) error {
		_, err := n.events.ListTagsForResource(n.ctx, &eventssdk.ListTagsForResourceInput{ResourceARN: &id})
		return err
	}, func(n *tenant) (ids []string, err error) {
		out, err := n.events.ListEventBuses(n.ctx, &eventssdk.ListEventBusesInput{NamePrefix: same})
		if err != nil {
			return nil, err
		}
		for _, b := range out.EventBuses {
			ids = append(ids, *b.Arn)
		}
		return ids, nil
	}},
	{"rule", func(n *tenant, _ things, _ string) (string, error) {
		out, err := n.events.PutRule(n.ctx, &eventssdk.PutRuleInput{Name: same, EventPattern: aws.String(`{"source":["aws.ec2"]}`)})
		if err != nil {
			return "", err
		}
		return *out.RuleArn, nil
	}, func(n *tenant, id string) error {
		_, err := n.events.ListTagsForResource(n.ctx, &eventssdk.ListTagsForResourceInput{ResourceARN: &id})
		return err
	}, func(n *tenant) (ids []string, err error) {
		out, err := n.events.ListRules(n.ctx, &eventssdk.ListRulesInput{NamePrefix: same})
		if err != nil {
			return nil, err
		}
		for _, r := range out.Rules {
			ids = append(ids, *r.Arn)
		}
		return ids, nil
	}},
	{"Auto Scaling group", func(n *tenant, made things, _ string) (string, error) {
		images, err := n.ec2.DescribeImages(n.ctx, &ec2sdk.DescribeImagesInput{Owners: []string{"amazon"}, Filters: []ec2types.Filter{{Name: aws.String("architecture"), Values: []string{"x86_64"}}}})
		if err != nil {
			return "", err
		}
		lt, err := n.ec2.CreateLaunchTemplate(n.ctx, &ec2sdk.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("launch"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
			ImageId: images.Images[0].ImageId, InstanceType: ec2types.InstanceTypeT3Small,
		}})
		if err != nil {
			return "", err
		}
		_, err = n.autoscaling.CreateAutoScalingGroup(n.ctx, &autoscalingsdk.CreateAutoScalingGroupInput{
			AutoScalingGroupName: same, MinSize: aws.Int32(0), MaxSize: aws.Int32(1), VPCZoneIdentifier: aws.String(made["subnet"]),
			LaunchTemplate: &asgtypes.LaunchTemplateSpecification{LaunchTemplateId: lt.LaunchTemplate.LaunchTemplateId, Version: aws.String("1")},
		})
		if err != nil {
			return "", err
		}
		ids, err := groupARNs(n)
		return strings.Join(ids, ","), err
	}, func(n *tenant, id string) error {
		ids, err := groupARNs(n)
		if err == nil && !slices.Contains(ids, id) {
			return errElse
		}
		return err
	}, groupARNs},
	{"node group", func(n *tenant, made things, role string) (string, error) {
		out, err := n.eks.CreateNodegroup(n.ctx, &ekssdk.CreateNodegroupInput{ClusterName: same, NodegroupName: same, NodeRole: &role, Subnets: []string{made["subnet"]}})
		if err != nil {
			return "", err
		}
		return *out.Nodegroup.NodegroupArn, nil
	}, tagsOf, func(n *tenant) ([]string, error) {
		return named(n, func(n *tenant) ([]string, error) {
			out, err := n.eks.ListNodegroups(n.ctx, &ekssdk.ListNodegroupsInput{ClusterName: same})
			if err != nil {
				return nil, err
			}
			return out.Nodegroups, nil
		}, func(name string) (*string, error) {
			out, err := n.eks.DescribeNodegroup(n.ctx, &ekssdk.DescribeNodegroupInput{ClusterName: same, NodegroupName: &name})
			if err != nil {
				return nil, err
			}
			return out.Nodegroup.NodegroupArn, nil
		})
	}},
	{"add-on", func(n *tenant, _ things, _ string) (string, error) {
		out, err := n.eks.CreateAddon(n.ctx, &ekssdk.CreateAddonInput{ClusterName: same, AddonName: aws.String("coredns")})
		if err != nil {
			return "", err
		}
		return *out.Addon.AddonArn, nil
	}, tagsOf, func(n *tenant) ([]string, error) {
		return named(n, func(n *tenant) ([]string, error) {
			out, err := n.eks.ListAddons(n.ctx, &ekssdk.ListAddonsInput{ClusterName: same})
			if err != nil {
				return nil, err
			}
			return out.Addons, nil
		}, func(name string) (*string, error) {
			out, err := n.eks.DescribeAddon(n.ctx, &ekssdk.DescribeAddonInput{ClusterName: same, AddonName: &name})
			if err != nil {
				return nil, err
			}
			return out.Addon.AddonArn, nil
		})
	}},
	{"access entry", func(n *tenant, _ things, role string) (string, error) {
		out, err := n.eks.CreateAccessEntry(n.ctx, &ekssdk.CreateAccessEntryInput{ClusterName: same, PrincipalArn: &role})
		if err != nil {
			return "", err
		}
		return *out.AccessEntry.AccessEntryArn, nil
	}, tagsOf, func(n *tenant) ([]string, error) {
		return named(n, func(n *tenant) ([]string, error) {
			out, err := n.eks.ListAccessEntries(n.ctx, &ekssdk.ListAccessEntriesInput{ClusterName: same})
			if err != nil {
				return nil, err
			}
			// The creator has one too.
			return slices.DeleteFunc(out.AccessEntries, func(p string) bool { return strings.HasSuffix(p, ":root") }), nil
		}, func(name string) (*string, error) {
			out, err := n.eks.DescribeAccessEntry(n.ctx, &ekssdk.DescribeAccessEntryInput{ClusterName: same, PrincipalArn: &name})
			if err != nil {
				return nil, err
			}
			return out.AccessEntry.AccessEntryArn, nil
		})
	}},
	{"pod identity association", func(n *tenant, _ things, role string) (string, error) {
		out, err := n.eks.CreatePodIdentityAssociation(n.ctx, &ekssdk.CreatePodIdentityAssociationInput{
			ClusterName: same, Namespace: same, ServiceAccount: same, RoleArn: &role,
		})
		if err != nil {
			return "", err
		}
		return *out.Association.AssociationArn, nil
	}, func(n *tenant, id string) error {
		if err := tagsOf(n, id); err != nil {
			return err
		}
		out, err := n.eks.DescribePodIdentityAssociation(n.ctx, &ekssdk.DescribePodIdentityAssociationInput{
			ClusterName: same, AssociationId: aws.String(id[strings.LastIndexByte(id, '/')+1:]),
		})
		if err != nil {
			return err
		}
		return mustBe(id, out.Association.AssociationArn, nil)
	}, func(n *tenant) (ids []string, err error) {
		out, err := n.eks.ListPodIdentityAssociations(n.ctx, &ekssdk.ListPodIdentityAssociationsInput{ClusterName: same})
		if err != nil {
			return nil, orNoCluster(err)
		}
		for _, a := range out.Associations {
			ids = append(ids, *a.AssociationArn)
		}
		return ids, nil
	}},
}

// groupARNs are those of the Auto Scaling groups, for its API takes names only.
func groupARNs(n *tenant) (ids []string, err error) {
	out, err := n.autoscaling.DescribeAutoScalingGroups(n.ctx, &autoscalingsdk.DescribeAutoScalingGroupsInput{})
	if err != nil {
		return nil, err
	}
	for _, g := range out.AutoScalingGroups {
		ids = append(ids, *g.AutoScalingGroupARN)
	}
	return ids, nil
}

// named makes ARNs of a list of names.
func named(n *tenant, list func(*tenant) ([]string, error), arn func(string) (*string, error)) (ids []string, err error) {
	names, err := list(n)
	if err != nil {
		return nil, orNoCluster(err)
	}
	for _, name := range names {
		id, err := arn(name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, *id)
	}
	return ids, nil
}

// orNoCluster is err unless it says that the tenant has no cluster.
func orNoCluster(err error) error {
	var none *ekstypes.ResourceNotFoundException
	if errors.As(err, &none) {
		return nil
	}
	return err
}

// activate takes a tenant's cluster to where things can be made in it: nothing
// drives it here.
func (n *tenant) activate() {
	n.t.Helper()
	if err := n.store.Update(n.ctx, func(tx *store.Tx) error {
		c := eks.Clusters.Edit(tx, n.Scope, "same")
		c.Resource.Status = ekstypes.ClusterStatusActive
		eks.Clusters.Put(tx, n.Scope, "same", c)
		return nil
	}); err != nil {
		n.t.Fatal(err)
	}
}

// TestIsolationOfKinds: what TestIsolation says, of everything that is not EC2's.
func TestIsolationOfKinds(t *testing.T) {
	s := newServices(t)
	tenants := s.tenants(t)
	roles := rolesOf(tenants)
	made := make([]things, len(tenants))
	for i, n := range tenants {
		made[i] = n.make(roles[n.Global()])
		n.activate()
	}
	stranger := s.tenant(t, "333333333333", "us-east-1")
	for _, k := range kinds {
		t.Run(k.what, func(t *testing.T) {
			ids := make([]string, len(tenants))
			for i, n := range tenants {
				id, err := k.make(n, made[i], roles[n.Global()])
				if err != nil {
					t.Fatalf("%s %s: %v", n.Account, n.Region, err)
				}
				if a, err := awsid.ParseARN(id); err == nil && !a.In(n.Scope) {
					t.Errorf("%s %s made %s", n.Account, n.Region, id)
				}
				ids[i] = id
			}
			for i, n := range tenants {
				if k.list != nil {
					if got, err := k.list(n); err != nil || !slices.Equal(got, ids[i:i+1]) {
						t.Errorf("%s %s lists %v, want %s: %v", n.Account, n.Region, got, ids[i], err)
					}
				}
				for j, id := range ids {
					if err := k.look(n, id); (err == nil) != (i == j) {
						t.Errorf("%s %s looks at %s: %v", n.Account, n.Region, id, err)
					}
				}
			}
			if k.list == nil {
				return
			}
			if got, err := k.list(stranger); err != nil || len(got) > 0 {
				t.Errorf("a new account sees %v, %v", got, err)
			}
		})
	}
}

// TestIsolationOfIdentities: credentials are good in all regions of their
// partition, and in no other.
func TestIsolationOfIdentities(t *testing.T) {
	s := newServices(t)
	tenants := s.tenants(t)
	roles := rolesOf(tenants)
	partitions := []string{awsid.PartitionAWS, awsid.PartitionChina, awsid.PartitionGov}
	for _, n := range tenants {
		out, err := n.sts.AssumeRole(n.ctx, &stssdk.AssumeRoleInput{RoleArn: aws.String(roles[n.Global()]), RoleSessionName: same})
		session := ok(t, out, err)
		if want := n.Global().ARN("sts", "assumed-role/same/same"); *session.AssumedRoleUser.Arn != want {
			t.Errorf("%s %s is %s, want %s", n.Account, n.Region, *session.AssumedRoleUser.Arn, want)
		}
		for _, p := range partitions {
			key, known := n.sts.Key(n.ctx, p, *session.Credentials.AccessKeyId)
			if known != (p == n.Partition()) || known && key.Caller.Scope != n.Global() {
				t.Errorf("a session of %s in %s: %+v, %v", n.Region, p, key.Caller, known)
			}
		}
		for _, other := range tenants {
			_, err := other.sts.GetAccessKeyInfo(other.ctx, &stssdk.GetAccessKeyInfoInput{AccessKeyId: session.Credentials.AccessKeyId})
			if same := other.Partition() == n.Partition(); (err == nil) != same {
				t.Errorf("%s %s asks whose the key of %s is: %v", other.Account, other.Region, n.Region, err)
			}
			_, err = other.sts.AssumeRole(other.ctx, &stssdk.AssumeRoleInput{RoleArn: aws.String(roles[n.Global()]), RoleSessionName: same})
			if trusted := other.Partition() == n.Partition(); (err == nil) != trusted {
				t.Errorf("%s %s assumes %s: %v", other.Account, other.Region, roles[n.Global()], err)
			}
		}
	}
	for scope := range roles {
		n := s.tenant(t, scope.Account, map[string]string{awsid.PartitionAWS: "us-west-2", awsid.PartitionChina: "cn-northwest-1"}[scope.Partition()])
		made, err := n.iam.CreateUser(n.ctx, &iamsdk.CreateUserInput{UserName: same})
		if got, want := *ok(t, made, err).User.Arn, scope.ARN("iam", "user/same"); got != want {
			t.Errorf("the user is %s, want %s", got, want)
		}
		key, err := n.iam.CreateAccessKey(n.ctx, &iamsdk.CreateAccessKeyInput{UserName: same})
		id := *ok(t, key, err).AccessKey.AccessKeyId
		for _, p := range partitions {
			got, known := n.iam.Key(n.ctx, p, id)
			if known != (p == scope.Partition()) || known && (got.Caller.Scope != scope || got.Caller.ARN != *made.User.Arn) {
				t.Errorf("a key of %+v in %s: %+v, %v", scope, p, got.Caller, known)
			}
		}
		users, err := n.iam.ListUsers(n.ctx, &iamsdk.ListUsersInput{})
		if got := ok(t, users, err).Users; len(got) != 1 || *got[0].Arn != *made.User.Arn {
			t.Errorf("%+v lists %d users", scope, len(got))
		}
	}
}
