package integration

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// rollTemplate: a new launch template's version replaces all nodes.
func (r *real) rollTemplate(t *testing.T) {
	ctx := t.Context()
	lt := r.launchTemplate(t, "rolled", script, false)
	data := &ec2types.RequestLaunchTemplateData{UserData: aws.String(base64.StdEncoding.EncodeToString([]byte(strings.Replace(script, "mine", "other", 1))))}
	must(r.ec2.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: lt.Id, LaunchTemplateData: data}))(t)
	r.nodegroup(t, "real", "rolled", 1, func(in *eks.CreateNodegroupInput) {
		lt.Version = aws.String("1")
		in.LaunchTemplate = lt
	})
	before := containersOf(t, r.c)
	u := must(r.eks.UpdateNodegroupVersion(ctx, &eks.UpdateNodegroupVersionInput{ClusterName: aws.String("real"), NodegroupName: aws.String("rolled"),
		LaunchTemplate: &ekstypes.LaunchTemplateSpecification{Id: lt.Id, Version: aws.String("2")}}))(t).Update
	r.updated(t, &eks.DescribeUpdateInput{Name: aws.String("real"), NodegroupName: aws.String("rolled"), UpdateId: u.Id}, ekstypes.UpdateStatusSuccessful)
	eventually(t, 30*time.Second, "one machine stands for the other", func() error {
		after := containersOf(t, r.c)
		fresh := slices.DeleteFunc(slices.Clone(after), func(c string) bool { return slices.Contains(before, c) })
		if len(after) != len(before) || len(fresh) != 1 {
			return fmt.Errorf("%v became %v", before, after)
		}
		return nil
	})
	r.deleteNodegroup(t, "real", "rolled")
	r.well(t, 2)
}
