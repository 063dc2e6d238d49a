package ec2

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/emulator/timing"
	"github.com/ekslocal/ekslocal/fixtures/images"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// launch is a RunInstances request with everything looked up.
type launch struct {
	in       *ec2.RunInstancesInput // merged with its launch template
	template *LaunchTemplateVersion
	image    images.Image
	typ      *instancetypes.Type
	subnet   *Subnet // of the primary interface
	nics     []nic
	profile  *types.IamInstanceProfile

	tags, volumeTags, eniTags []types.Tag
	reservation               string
	now                       time.Time
	due                       *time.Time
}

// nic is one interface to make or to attach, by device index.
type nic struct {
	spec    types.InstanceNetworkInterfaceSpecification
	device  int32
	card    int32
	subnet  *Subnet
	groups  []types.GroupIdentifier
	want    wish
	public  bool
	present string // id of an existing interface instead
}

// RunInstances launches between MinCount and MaxCount instances, as many as the
// subnet has addresses for.
func (s *Service) RunInstances(ctx context.Context, in *ec2.RunInstancesInput, _ ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	if err := checkCounts(in); err != nil {
		return nil, err
	}
	sc := awsid.CallerFrom(ctx).Scope
	if err := s.ensureRegion(ctx, sc); err != nil {
		return nil, err
	}
	// IAM is asked before the transaction; a template version never changes.
	merged, _, err := withTemplate(s.store, sc, in)
	if err != nil {
		return nil, err
	}
	profile, err := s.profileOf(ctx, merged.IamInstanceProfile)
	if err != nil {
		return nil, err
	}
	var made []*Instance
	err = s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		made = nil
		rp, err := s.replayOf(tx, sc, "RunInstances", in.ClientToken, in)
		if err != nil {
			return err
		}
		for _, id := range rp.ids {
			if inst := Instances.Get(tx, sc, id); inst != nil {
				made = append(made, inst)
			}
		}
		if made != nil {
			return nil
		}
		la, err := s.prepare(ctx, tx, sc, in)
		if err != nil {
			return err
		}
		la.profile = profile
		if made, err = s.launchAll(ctx, tx, sc, la); err != nil {
			return err
		}
		ids := make([]string, len(made))
		for i, inst := range made {
			ids[i] = *inst.InstanceId
		}
		s.remember(tx, sc, rp, ids...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &ec2.RunInstancesOutput{OwnerId: &sc.Account, ReservationId: aws.String(made[0].ReservationID), Groups: []types.GroupIdentifier{}}
	for _, inst := range made {
		out.Instances = append(out.Instances, instanceView(s.store, sc, inst))
	}
	return out, nil
}

func checkCounts(in *ec2.RunInstancesInput) error {
	switch {
	case in.MinCount == nil:
		return errMissing("MinCount")
	case in.MaxCount == nil:
		return errMissing("MaxCount")
	case *in.MinCount < 1:
		return errInvalid("Value (%d) for parameter minCount is invalid. It must be greater than or equal to 1.", *in.MinCount)
	case *in.MaxCount < *in.MinCount:
		return errInvalid("Value (%d) for parameter maxCount is invalid. It must be greater than or equal to minCount.", *in.MaxCount)
	case *in.MaxCount > 1000:
		return apiError("InstanceLimitExceeded", "You have requested more instances (%d) than your current instance limit of 1000 allows for one request.", *in.MaxCount)
	}
	return nil
}

// profileOf looks an instance profile up in IAM.
func (s *Service) profileOf(ctx context.Context, spec *types.IamInstanceProfileSpecification) (*types.IamInstanceProfile, error) {
	if spec == nil || spec.Arn == nil && spec.Name == nil {
		return nil, nil
	}
	sc := awsid.CallerFrom(ctx).Scope
	name := deref(spec.Name)
	if spec.Arn != nil {
		if spec.Name != nil {
			return nil, errCombination("The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'")
		}
		arn, err := awsid.ParseARN(*spec.Arn)
		if err != nil || arn.Service != "iam" || !strings.HasPrefix(arn.Resource, "instance-profile/") {
			return nil, apiError("InvalidIamInstanceProfileArn.Malformed", "The specified IAM instance profile ARN %s is malformed", *spec.Arn)
		}
		name = arn.Resource[strings.LastIndexByte(arn.Resource, '/')+1:]
	}
	if s.profiles == nil {
		return &types.IamInstanceProfile{
			Arn: aws.String(sc.Global().ARN("iam", "instance-profile/"+name)), Id: aws.String("AIPA" + strings.ToUpper(awsid.Hex(17))),
		}, nil
	}
	out, err := s.profiles.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
	// The same name may be a profile of the same account number elsewhere.
	if err != nil || spec.Arn != nil && !strings.HasPrefix(*spec.Arn, sc.Global().ARN("iam", "")) {
		if spec.Arn != nil {
			return nil, errInvalid("Value (%s) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN", *spec.Arn)
		}
		return nil, errInvalid("Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name)
	}
	return &types.IamInstanceProfile{Arn: out.InstanceProfile.Arn, Id: out.InstanceProfile.InstanceProfileId}, nil
}

// prepare validates a request and looks up all it names.
func (s *Service) prepare(ctx context.Context, tx *store.Tx, sc awsid.Scope, in *ec2.RunInstancesInput) (*launch, error) {
	merged, template, err := withTemplate(tx, sc, in)
	if err != nil {
		return nil, err
	}
	la := &launch{in: merged, template: template, now: s.now(), reservation: "r-" + awsid.Hex(17)}
	la.due = s.due(timing.InstancePending)
	if la.image, err = imageOf(sc.Region, merged.ImageId); err != nil {
		return nil, err
	}
	if la.typ, err = typeFor(merged.InstanceType, la.image); err != nil {
		return nil, err
	}
	if err := checkUserData(merged.UserData); err != nil {
		return nil, err
	}
	if merged.KeyName != nil && findKeyPair(tx, sc, *merged.KeyName) == nil {
		return nil, keyPairKind.absent(*merged.KeyName)
	}
	if err := checkPlacement(tx, sc, merged.Placement); err != nil {
		return nil, err
	}
	if err := la.prepareTags(ctx); err != nil {
		return nil, err
	}
	return la, s.prepareInterfaces(ctx, tx, sc, la)
}

func imageOf(region string, id *string) (images.Image, error) {
	if id == nil || *id == "" {
		return images.Image{}, errMissing("ImageId")
	}
	if rest, ok := strings.CutPrefix(*id, "ami-"); !ok || !idDigits.MatchString(rest) {
		return images.Image{}, apiError("InvalidAMIID.Malformed", "Invalid id: %q (expecting \"ami-...\")", *id)
	}
	im, ok := images.Lookup(region, *id)
	if !ok {
		return im, apiError("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", *id)
	}
	return im, nil
}

func typeFor(name types.InstanceType, im images.Image) (*instancetypes.Type, error) {
	if name == "" {
		name = types.InstanceTypeM1Small // EC2's default
	}
	t, ok := instancetypes.Lookup(string(name))
	if !ok {
		return nil, errInvalid("Invalid value '%s' for InstanceType.", name)
	}
	if !slices.Contains(t.Architectures, im.Architecture) {
		return nil, errInvalid("The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.", strings.Join(t.Architectures, ","), im.Architecture)
	}
	return t, nil
}

func (la *launch) prepareTags(ctx context.Context) error {
	// A template may tag what this launch does not make, such as spot requests.
	allowed := []types.ResourceType{
		types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface, types.ResourceTypeSpotInstancesRequest, types.ResourceTypeElasticGpu,
	}
	for _, t := range []struct {
		typ types.ResourceType
		out *[]types.Tag
	}{{types.ResourceTypeInstance, &la.tags}, {types.ResourceTypeVolume, &la.volumeTags}, {types.ResourceTypeNetworkInterface, &la.eniTags}} {
		tags, err := tagsFor(ctx, la.in.TagSpecifications, t.typ, allowed...)
		if err != nil {
			return err
		}
		*t.out = tags
	}
	if v := la.template; v != nil {
		from := []types.Tag{
			{Key: aws.String("aws:ec2launchtemplate:id"), Value: v.LaunchTemplateId},
			{Key: aws.String("aws:ec2launchtemplate:version"), Value: aws.String(strconv.FormatInt(*v.VersionNumber, 10))},
		}
		tags, err := mergeTags(from, la.tags)
		if err != nil {
			return err
		}
		la.tags = tags
	}
	return nil
}

// One launch is one transaction, whose size the store limits. Records of an
// instance with an interface and two volumes take some 9 KB besides user data.
const (
	transactionBytes = 9 << 20
	instanceBytes    = 9 << 10
)

// launchAll makes instances until MaxCount or until a subnet is full.
func (s *Service) launchAll(ctx context.Context, tx *store.Tx, sc awsid.Scope, la *launch) ([]*Instance, error) {
	l := newLedger(tx, sc)
	var made []*Instance
	most := min(int(*la.in.MaxCount), transactionBytes/(instanceBytes+len(deref(la.in.UserData))))
	if most < int(*la.in.MinCount) {
		return nil, apiError("InstanceLimitExceeded", "You have requested more instances (%d) with this much user data than one request allows for (%d).", *la.in.MinCount, most)
	}
	for i := range most {
		before := l.snapshot()
		inst, err := s.launchOne(ctx, l, la, i)
		if errors.Is(err, errNoAddresses) || errors.Is(err, errNoPrefixes) || errors.Is(err, errNoBlocks) {
			if i < int(*la.in.MinCount) {
				return nil, la.fullError(err)
			}
			l.restore(before) // what the unfinished instance took
			break
		}
		if err != nil {
			return nil, err
		}
		made = append(made, inst)
	}
	l.flush()
	return made, nil
}

// fullError says that a subnet is full as launches do; the operations on interfaces
// have other words for it.
func (la *launch) fullError(err error) error {
	if !errors.Is(err, errNoAddresses) {
		return err
	}
	return apiError("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", *la.subnet.SubnetId)
}

// snapshot and restore undo what one instance of many took.
func (l *ledger) snapshot() map[string]*SubnetAddressPool {
	out := map[string]*SubnetAddressPool{}
	for id, p := range l.pools {
		out[id] = p.clone()
	}
	return out
}

func (l *ledger) restore(to map[string]*SubnetAddressPool) {
	for id := range l.pools {
		if p, ok := to[id]; ok {
			l.pools[id] = p
		} else {
			delete(l.pools, id)
		}
	}
}
