package ssm

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/fixtures/images"
	"github.com/ekslocal/ekslocal/fixtures/regions"
)

const publicPrefix = "/aws/service/"

// catalogues are the public parameters of each region, sorted by name. They are
// the same for every account and follow from the fixtures.
var catalogues sync.Map // region -> []*version

func public(region string) []*version {
	if c, ok := catalogues.Load(region); ok {
		return c.([]*version)
	}
	c := &catalogue{region: region}
	for _, v := range images.Versions() {
		for _, arch := range []string{images.X86, images.ARM} {
			c.amazonLinux(v, arch)
			c.bottlerocket(v, arch)
		}
	}
	c.base()
	c.infrastructure()
	slices.SortFunc(c.list, func(a, b *version) int { return strings.Compare(a.Name, b.Name) })
	got, _ := catalogues.LoadOrStore(region, c.list)
	return got.([]*version)
}

func publicByName(region, name string) *version {
	all := public(region)
	i, ok := slices.BinarySearchFunc(all, name, func(v *version, name string) int { return strings.Compare(v.Name, name) })
	if !ok {
		return nil
	}
	return all[i]
}

type catalogue struct {
	region string
	list   []*version
}

// published is the modification time of what follows from no image.
var published = time.Date(2026, 4, 15, 18, 0, 0, 0, time.UTC)

func (c *catalogue) add(name, value, dataType string, modified time.Time) {
	c.list = append(c.list, &version{
		Name: name, Value: value, Type: typeString, Number: 1, Modified: modified, DataType: dataType, Tier: tierStandard,
		// Public parameters belong to no account.
		ARN: awsid.Scope{Region: c.region}.ARN("ssm", "parameter"+name),
	})
}

func modified(im images.Image) time.Time {
	t, err := time.Parse(time.RFC3339, im.CreationDate)
	if err != nil {
		return published
	}
	return t.UTC()
}

// amazonLinux adds the EKS optimized Amazon Linux 2023 images of a version.
func (c *catalogue) amazonLinux(v, arch string) {
	for flavour, line := range map[string]images.Variant{"standard": images.AL2023, "nvidia": images.AL2023NVIDIA, "neuron": images.AL2023Neuron} {
		im, ok := images.EKSImage(c.region, v, line, arch)
		if !ok {
			continue
		}
		base, at := "/aws/service/eks/optimized-ami/"+v+"/amazon-linux-2023/"+arch+"/"+flavour+"/", modified(im)
		for _, dir := range []string{"recommended", im.Name} {
			c.add(base+dir+"/image_id", im.ID, "text", at)
			c.add(base+dir+"/image_name", im.Name, "text", at)
			c.add(base+dir+"/release_version", im.ReleaseVersion, "text", at)
		}
		c.add(base+"recommended", recommended(im), "text", at)
	}
}

// recommended is the summary of an image that AWS publishes beside its parts.
func recommended(im images.Image) string {
	b, err := json.Marshal(struct {
		Schema  string `json:"schema_version"`
		ID      string `json:"image_id"`
		Name    string `json:"image_name"`
		Release string `json:"release_version"`
	}{"1", im.ID, im.Name, im.ReleaseVersion})
	if err != nil {
		panic(err) // strings only
	}
	return string(b)
}

func (c *catalogue) bottlerocket(v, arch string) {
	for suffix, line := range map[string]images.Variant{"": images.Bottlerocket, "-nvidia": images.BottlerocketNVIDIA} {
		im, ok := images.EKSImage(c.region, v, line, arch)
		if !ok {
			continue
		}
		base, at := "/aws/service/bottlerocket/aws-k8s-"+v+suffix+"/"+arch+"/", modified(im)
		short, _, _ := strings.Cut(im.ReleaseVersion, "-")
		for _, dir := range []string{"latest", short, im.ReleaseVersion} {
			c.add(base+dir+"/image_id", im.ID, "text", at)
			c.add(base+dir+"/image_version", im.ReleaseVersion, "text", at)
		}
	}
}

// base adds plain Amazon Linux 2023.
func (c *catalogue) base() {
	for _, arch := range []string{images.X86, images.ARM} {
		im, ok := images.Base(c.region, arch)
		if !ok {
			continue
		}
		for _, kernel := range []string{"default", "6.1"} {
			c.add("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-"+kernel+"-"+arch, im.ID, "aws:ec2:image", modified(im))
		}
	}
}

func (c *catalogue) infrastructure() {
	const root = "/aws/service/global-infrastructure/"
	for _, r := range regions.In(regions.PartitionOf(c.region).Name) {
		base := root + "regions/" + r.Name
		c.add(base, r.Name, "text", published)
		c.add(base+"/domain", r.Partition().DNSSuffix, "text", published)
		c.add(base+"/longName", r.Description, "text", published)
		c.add(base+"/partition", r.Partition().Name, "text", published)
		for _, z := range r.Zones {
			c.add(base+"/availability-zones/"+z.ID, z.ID, "text", published)
			c.add(root+"availability-zones/"+z.ID, z.ID, "text", published)
			c.add(root+"availability-zones/"+z.ID+"/parent-region", r.Name, "text", published)
		}
	}
}
