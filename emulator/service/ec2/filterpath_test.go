package ec2

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
)

func TestAt(t *testing.T) {
	when := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	v := &types.Instance{
		EbsOptimized: aws.Bool(true), BootMode: types.BootModeValuesUefi, AmiLaunchIndex: aws.Int32(3),
		BlockDeviceMappings: []types.InstanceBlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsInstanceBlockDevice{AttachTime: &when}}, {DeviceName: aws.String("/dev/sdf")},
		},
	}
	for path, want := range map[string][]string{
		"EbsOptimized": {"true"}, "BootMode": {"uefi"}, "AmiLaunchIndex": {"3"}, "KernelId": nil, "Placement.HostId": nil,
		"BlockDeviceMappings.DeviceName": {"/dev/xvda", "/dev/sdf"}, "BlockDeviceMappings.Ebs.AttachTime": {"2026-05-01T12:00:00.000Z"},
	} {
		if diff := cmp.Diff(want, at[types.Instance](path)(v)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
}

// TestFilterPaths finds paths that the SDK's types do not have, which would
// otherwise select nothing.
func TestFilterPaths(t *testing.T) {
	check[instanceItem](t, instancePaths)
	check[types.InstanceTypeInfo](t, instanceTypePaths)
	check[types.InstanceStatus](t, statusPaths)
	check[types.Image](t, imagePaths)
	check[types.NetworkAcl](t, aclPaths)
	check[types.RouteTable](t, routePaths)
	check[types.LaunchTemplateVersion](t, versionPaths)
}

func check[V any](t *testing.T, paths map[string]string) {
	t.Helper()
	for name, path := range paths {
		if strings.HasPrefix(path, "=") {
			continue
		}
		typ := reflect.TypeFor[V]()
		for _, field := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' }) {
			for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
				typ = typ.Elem()
			}
			f, ok := typ.FieldByName(field)
			if !ok {
				t.Errorf("%s: %s has no %s", name, typ, field)
				break
			}
			typ = f.Type
		}
	}
}
