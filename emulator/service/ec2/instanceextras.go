package ec2

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/ekslocal/ekslocal/emulator/awsid"
	"github.com/ekslocal/ekslocal/emulator/store"
	"github.com/ekslocal/ekslocal/fixtures/instancetypes"
)

// GetConsoleOutput answers what a simulated machine says when it boots.
func (s *Service) GetConsoleOutput(ctx context.Context, in *ec2.GetConsoleOutputInput, _ ...func(*ec2.Options)) (*ec2.GetConsoleOutputOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	inst, err := instanceKind.get(s.store, sc, in.InstanceId)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("ekslocal: simulated instance %s of type %s, image %s; nothing boots\n", *inst.InstanceId, inst.InstanceType, deref(inst.ImageId))
	return &ec2.GetConsoleOutputOutput{
		InstanceId: inst.InstanceId, Timestamp: inst.LaunchTime, Output: aws.String(base64.StdEncoding.EncodeToString([]byte(text))),
	}, nil
}

// cpuCredits is the credit option of a burstable instance: as launched, else T2's
// standard and the later families' unlimited.
func cpuCredits(inst *Instance) string {
	t, ok := instancetypes.Lookup(string(inst.InstanceType))
	switch {
	case !ok || !t.Burstable:
		return ""
	case inst.CPUCredits != "":
		return inst.CPUCredits
	case strings.HasPrefix(t.Name, "t2."):
		return "standard"
	}
	return "unlimited"
}

// DescribeInstanceCreditSpecifications lists the credit options of burstable
// instances: of those named, or of those that are unlimited.
func (s *Service) DescribeInstanceCreditSpecifications(ctx context.Context, in *ec2.DescribeInstanceCreditSpecificationsInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceCreditSpecificationsOutput, error) {
	sc, err := s.read(ctx, in.DryRun)
	if err != nil {
		return nil, err
	}
	insts, err := instanceKind.selectIDs(s.store, sc, in.InstanceIds)
	if err != nil {
		return nil, err
	}
	match, err := compile(fields[types.InstanceCreditSpecification]{
		"instance-id": func(v *types.InstanceCreditSpecification) []string { return one(v.InstanceId) },
	}, nil, in.Filters)
	if err != nil {
		return nil, err
	}
	out := []types.InstanceCreditSpecification{}
	for _, i := range insts {
		credits := cpuCredits(i)
		if credits == "" || credits == "standard" && len(in.InstanceIds) == 0 {
			continue
		}
		v := types.InstanceCreditSpecification{InstanceId: i.InstanceId, CpuCredits: &credits}
		if match(&v) {
			out = append(out, v)
		}
	}
	page, next, err := paginate(out, func(v *types.InstanceCreditSpecification) string { return deref(v.InstanceId) }, in.MaxResults, in.NextToken, 5)
	if err != nil {
		return nil, err
	}
	return &ec2.DescribeInstanceCreditSpecificationsOutput{InstanceCreditSpecifications: page, NextToken: next}, nil
}

// ModifyInstanceCreditSpecification sets credit options, each with a result.
func (s *Service) ModifyInstanceCreditSpecification(ctx context.Context, in *ec2.ModifyInstanceCreditSpecificationInput, _ ...func(*ec2.Options)) (*ec2.ModifyInstanceCreditSpecificationOutput, error) {
	if len(in.InstanceCreditSpecifications) == 0 {
		return nil, errMissing("InstanceCreditSpecification")
	}
	out := &ec2.ModifyInstanceCreditSpecificationOutput{}
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		*out = ec2.ModifyInstanceCreditSpecificationOutput{}
		for _, c := range in.InstanceCreditSpecifications {
			fail := func(code types.UnsuccessfulInstanceCreditSpecificationErrorCode, message string) {
				out.UnsuccessfulInstanceCreditSpecifications = append(out.UnsuccessfulInstanceCreditSpecifications, types.UnsuccessfulInstanceCreditSpecificationItem{
					InstanceId: c.InstanceId, Error: &types.UnsuccessfulInstanceCreditSpecificationItemError{Code: code, Message: &message},
				})
			}
			if deref(c.CpuCredits) != "standard" && deref(c.CpuCredits) != "unlimited" {
				return errInvalidValue(deref(c.CpuCredits), "cpuCredits")
			}
			inst, err := instanceKind.edit(tx, sc, c.InstanceId)
			switch {
			case err != nil:
				fail(types.UnsuccessfulInstanceCreditSpecificationErrorCodeInstanceNotFound, *unsuccessful("", err).Error.Message)
			case cpuCredits(inst) == "":
				fail(types.UnsuccessfulInstanceCreditSpecificationErrorCodeInstanceCreditSpecificationNotSupported,
					"This instance type does not support credit specifications.")
			default:
				inst.CPUCredits = *c.CpuCredits
				Instances.Put(tx, sc, *inst.InstanceId, inst)
				out.SuccessfulInstanceCreditSpecifications = append(out.SuccessfulInstanceCreditSpecifications, types.SuccessfulInstanceCreditSpecificationItem{InstanceId: inst.InstanceId})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Service) monitor(ctx context.Context, dryRun *bool, ids []string, to, shown types.MonitoringState) ([]types.InstanceMonitoring, error) {
	var out []types.InstanceMonitoring
	err := s.write(ctx, dryRun, func(tx *store.Tx, sc awsid.Scope) error {
		out = nil
		insts, err := instancesOf(tx, sc, ids)
		if err != nil {
			return err
		}
		for _, i := range insts {
			i.Monitoring = &types.Monitoring{State: to}
			Instances.Put(tx, sc, *i.InstanceId, i)
			out = append(out, types.InstanceMonitoring{InstanceId: i.InstanceId, Monitoring: &types.Monitoring{State: shown}})
		}
		return nil
	})
	return out, err
}

// MonitorInstances turns detailed monitoring on.
func (s *Service) MonitorInstances(ctx context.Context, in *ec2.MonitorInstancesInput, _ ...func(*ec2.Options)) (*ec2.MonitorInstancesOutput, error) {
	out, err := s.monitor(ctx, in.DryRun, in.InstanceIds, types.MonitoringStateEnabled, types.MonitoringStatePending)
	if err != nil {
		return nil, err
	}
	return &ec2.MonitorInstancesOutput{InstanceMonitorings: out}, nil
}

// UnmonitorInstances turns detailed monitoring off.
func (s *Service) UnmonitorInstances(ctx context.Context, in *ec2.UnmonitorInstancesInput, _ ...func(*ec2.Options)) (*ec2.UnmonitorInstancesOutput, error) {
	out, err := s.monitor(ctx, in.DryRun, in.InstanceIds, types.MonitoringStateDisabled, types.MonitoringStateDisabling)
	if err != nil {
		return nil, err
	}
	return &ec2.UnmonitorInstancesOutput{InstanceMonitorings: out}, nil
}

// ModifyInstanceMaintenanceOptions sets automatic recovery.
func (s *Service) ModifyInstanceMaintenanceOptions(ctx context.Context, in *ec2.ModifyInstanceMaintenanceOptionsInput, _ ...func(*ec2.Options)) (*ec2.ModifyInstanceMaintenanceOptionsOutput, error) {
	var set types.InstanceMaintenanceOptions
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		inst, err := instanceKind.edit(tx, sc, in.InstanceId)
		if err != nil {
			return err
		}
		if in.AutoRecovery != "" {
			if !slices.Contains(in.AutoRecovery.Values(), in.AutoRecovery) {
				return errInvalidValue(in.AutoRecovery, "AutoRecovery")
			}
			inst.MaintenanceOptions.AutoRecovery = in.AutoRecovery
		}
		if in.RebootMigration != "" {
			inst.MaintenanceOptions.RebootMigration = in.RebootMigration
		}
		set = *inst.MaintenanceOptions
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyInstanceMaintenanceOptionsOutput{InstanceId: in.InstanceId, AutoRecovery: set.AutoRecovery, RebootMigration: set.RebootMigration}, nil
}

// ModifyPrivateDnsNameOptions sets the form of an instance's private name.
func (s *Service) ModifyPrivateDnsNameOptions(ctx context.Context, in *ec2.ModifyPrivateDnsNameOptionsInput, _ ...func(*ec2.Options)) (*ec2.ModifyPrivateDnsNameOptionsOutput, error) {
	err := s.write(ctx, in.DryRun, func(tx *store.Tx, sc awsid.Scope) error {
		inst, err := instanceKind.edit(tx, sc, in.InstanceId)
		if err != nil {
			return err
		}
		o := inst.PrivateDnsNameOptions
		if h := in.PrivateDnsHostnameType; h != "" {
			if inst.State.Name != types.InstanceStateNameStopped && h != o.HostnameType {
				return apiError("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", *inst.InstanceId)
			}
			o.HostnameType = h
		}
		if in.EnableResourceNameDnsARecord != nil {
			o.EnableResourceNameDnsARecord = in.EnableResourceNameDnsARecord
		}
		if in.EnableResourceNameDnsAAAARecord != nil {
			o.EnableResourceNameDnsAAAARecord = in.EnableResourceNameDnsAAAARecord
		}
		Instances.Put(tx, sc, *inst.InstanceId, inst)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ec2.ModifyPrivateDnsNameOptionsOutput{Return: aws.Bool(true)}, nil
}
